"""The formats of checkpoints, as a table."""

from dataclasses import dataclass

FLAT = ""  # the file itself is the state dict: every format may be re-saved so
CLASSIC_HOST = "solo-learn to 1.0.2"
CURRENT_HOST = "solo-learn current"

# How the parameter names of a bare backbone begin, in torchvision, timm and the papers' code.
# fmt: off
ROOTS = (
    "conv", "Conv2d", "stem", "patch_embed", "embeds.", "cls_token", "class_token", "pos_embed",
    "features.", "layer0.", "layer1.", "layers.", "blocks.", "stages.", "body.", "base_layer.",
    "downsample_layers.",
)
# fmt: on
# torchvision's MobileNet-V3 has in `classifier.0` a layer whose outputs are features
CLASSIFIERS = (
    *("fc.", "classifier.weight", "classifier.bias", *(f"classifier.{n}." for n in range(1, 10))),
    *("head.weight", "head.bias", "head.fc.", "heads."),
)


@dataclass(frozen=True)
class Layout:
    """Where a format keeps its tensors, and the keys by which it is known.

    Attributes:
        containers: keys of the file that may hold the state dict, the preferred first.
        prefix: what precedes the backbone's keys.
        heads: what precedes the projector's keys, the first that occurs being used.
        needs: at least one key must begin with one of these, besides one with `prefix`.
        ignored: what precedes the keys to drop, the prefix included.
    """

    containers: tuple[str, ...]
    prefix: str
    heads: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """One source of checkpoints: a name, a line for a list, and its layouts."""

    name: str
    description: str
    layouts: tuple[Layout, ...]


def _plain(containers: tuple[str, ...], prefix: str) -> Layout:
    """A bare network, whose classifier is no embedding and is dropped."""
    return Layout(
        containers,
        prefix,
        needs=tuple(prefix + root for root in ROOTS),
        ignored=tuple(prefix + name for name in CLASSIFIERS),
    )


_STATE = ("state_dict", FLAT)
_MODEL = ("model", "state_dict", FLAT)
_DINO = ("teacher", "student")
_ANY = ("state_dict_ema", "model_ema", "state_dict", "model", FLAT)
_SOLO_NEEDS = ("classifier.", "projector.")
# our methods keep theirs in `objective.`; `head.` is the host's DINO's
_SOLO_HEADS = ("projector.", "objective.projector.", "head.")

# The most specific first: a file is read by the first that fits it.
FORMATS: tuple[Format, ...] = (
    Format(
        "MoCo v1/v2, DisCo",
        "state_dict with module.encoder_q.*; projector fc",
        (Layout(_STATE, "module.encoder_q.", ("module.encoder_q.fc.",)),),
    ),
    Format(
        "MoCo v3",
        "state_dict with module.base_encoder.*; projector fc, or head of a ViT",
        (
            Layout(
                _STATE,
                "module.base_encoder.",
                ("module.base_encoder.fc.", "module.base_encoder.head."),
            ),
        ),
    ),
    Format(
        "SimSiam",
        "state_dict with module.encoder.* and module.predictor.*; projector fc",
        (
            Layout(
                _STATE,
                "module.encoder.",
                ("module.encoder.fc.",),
                needs=("module.encoder.fc.", "module.predictor."),
            ),
        ),
    ),
    Format(
        CLASSIC_HOST,
        "state_dict with encoder.*; projector projector, or head of DINO",
        (Layout(_STATE, "encoder.", _SOLO_HEADS, _SOLO_NEEDS),),
    ),
    Format(
        CURRENT_HOST,
        "state_dict with backbone.*; projector projector, or head of DINO",
        (Layout(_STATE, "backbone.", _SOLO_HEADS, _SOLO_NEEDS),),
    ),
    Format(
        "DINO, DINOv2",
        "teacher (or student) with backbone.*; projector head.mlp, up to its bottleneck",
        (
            Layout(_DINO, "module.backbone.", ("module.head.",)),
            Layout(_DINO, "backbone.", ("head.", "dino_head.")),
            _plain(_DINO, ""),
            Layout((FLAT,), "module.backbone.", ("module.head.",), ("module.head.",)),
            Layout((FLAT,), "backbone.", ("head.", "dino_head."), ("head.", "dino_head.")),
        ),
    ),
    Format(
        "Barlow Twins, VICReg",
        "model, or flat, with module.backbone.*; projector module.projector",
        (Layout(_MODEL, "module.backbone.", ("module.projector.",)),),
    ),
    Format(
        "SwAV",
        "flat, or state_dict, with module.*; projector module.projection_head",
        (
            Layout(
                _STATE,
                "module.",
                ("module.projection_head.",),
                needs=("module.projection_head.", "module.prototypes"),
                ignored=("module.prototypes",),
            ),
        ),
    ),
    Format(
        "torchvision, timm",
        "flat, state_dict, model or state_dict_ema, maybe under module.*; no projector; also "
        "the backbones published by DINO, DINOv2, Barlow Twins and VICReg",
        (_plain(_ANY, ""), _plain(_ANY, "module.")),
    ),
)
