"""The formats of checkpoints, as a table.

Keys are taken without wrappers (`wrappers.py`) and before names are translated (`naming.py`).
"""

from dataclasses import dataclass

from solo_rekd.checkpoints import naming

FLAT = ""  # the file itself is the state dict: every format may be re-saved that way
CLASSIC_HOST = "solo-learn to 1.0.2"
CURRENT_HOST = "solo-learn current"
MOCO_V3 = "MoCo v3"
DINO = "DINO, DINOv2"

# How the parameter names of a bare backbone begin, in torchvision, timm and the papers' code.
# fmt: off
ROOTS = (
    "conv", "Conv2d", "stem", "patch_embed", "embeds.", "cls_token", "class_token", "pos_embed",
    "features.", "layer0.", "layer1.", "layers.", "blocks.", "stages.", "body.", "base_layer.",
    "downsample_layers.", "embeddings.", "embedder.", "0.weight",
)
# torchvision's MobileNet-V3 has in `classifier.0` a layer whose outputs are features
CLASSIFIERS = (
    "fc.", "classifier.weight", "classifier.bias", *(f"classifier.{n}." for n in range(1, 10)),
    "head.weight", "head.bias", "head.fc.", "head.l.", "heads.",
    "linear.", "pooler.", "head_dist.", "classif.",
)
# fmt: on


@dataclass(frozen=True)
class Layout:
    """Where a format keeps its tensors, and the keys by which it is known.

    Attributes:
        containers: keys of the file that may hold the state dict, the preferred first; a dot goes
            one mapping deeper.
        prefix: prefix of the backbone's keys.
        heads: prefixes of the projector's keys; the first that occurs is used.
        needs: groups of prefixes; a key must begin with at least one of each group, besides
            `prefix`.
        lacks: prefixes that no key may begin with.
        argument: argument that must be among those in the file; empty: none.
        ignored: prefixes of keys to drop, including `prefix`.
        activation: activation between the projector's layers, `relu` or `gelu`; None: not known.
        stem: meaning of a ResNet's 3x3 first convolution, as in `build_backbone`; None: not known.
        sure: whether the keys leave no doubt about `stem`.
    """

    containers: tuple[str, ...]
    prefix: str
    heads: tuple[str, ...] = ()
    needs: tuple[tuple[str, ...], ...] = ()
    lacks: tuple[str, ...] = ()
    argument: str = ""
    ignored: tuple[str, ...] = ()
    activation: str | None = "relu"
    stem: str | None = None
    sure: bool = True


@dataclass(frozen=True)
class Format:
    """One source of checkpoints: a name, a line for a list, and its layouts."""

    name: str
    description: str
    layouts: tuple[Layout, ...]


def plain(containers: tuple[str, ...], prefix: str, heads: tuple[str, ...] = ()) -> Layout:
    """Makes the layout of a bare network, whose classifier is not an embedding and is dropped."""
    return Layout(
        containers,
        prefix,
        heads,
        needs=(tuple(prefix + root for root in ROOTS),),
        ignored=tuple(prefix + name for name in CLASSIFIERS),
        activation=None,
    )


_DINO = ("teacher", "student")
_DINO_HEADS = ("head.mlp.", "dino_head.mlp.")
_RUN = ("state_dict", "model", "model_state_dict", "net", FLAT)
# averaged weights are preferred to those of the last step
CONTAINERS = (
    *"state_dict_ema model_ema ema_state_dict ema state_dict model model_state_dict net".split(),
    *"network online_network_state_dict target_encoder encoder backbone weights".split(),
    FLAT,
)
_VISSL = "classy_state_dict.base_model.model"
# our methods keep theirs in `objective.`
_SOLO_HEADS = ("projector.", "objective.projector.")
_SOLO_MARKS = (*_SOLO_HEADS, "objective.", "momentum_", "decoder.", "head.")


def _solo(prefix: str) -> tuple[Layout, ...]:
    """Makes the layouts of the host's pretraining, by DINO or another method, and evaluation.

    Many Lightning modules have the keys of an evaluation, so its stem is a guess.
    """
    run, mark = ("state_dict", FLAT), ("classifier.",)
    return (
        Layout(
            run, prefix, ("head.mlp.",), (mark, ("head.mlp.",)), activation="gelu", stem="small"
        ),
        Layout(run, prefix, _SOLO_HEADS, (mark, _SOLO_MARKS), stem="small"),
        Layout(run, prefix, needs=(mark,), lacks=("head", "neck."), stem="small", sure=False),
    )


# The most specific first: a file is read by the first that fits it.
FORMATS: tuple[Format, ...] = (
    Format(
        "MoCo v1/v2, DisCo",
        "state_dict with encoder_q.*; projector fc or classifier",
        (
            # torchvision's MobileNet-V3 has features in `classifier.0`, and no `classifier.2`
            Layout(_RUN, "encoder_q.", ("encoder_q.classifier.",), (("encoder_q.classifier.2.",),)),
            Layout(_RUN, "encoder_q.", ("encoder_q.fc.", "encoder_q.head.")),
        ),
    ),
    Format(
        MOCO_V3,
        "state_dict with base_encoder.*; projector fc, or head of a ViT",
        (
            Layout(_RUN, "base_encoder.", ("base_encoder.fc.", "base_encoder.head.")),
            # OpenMMLab's: a ViT with a momentum encoder
            Layout(
                _RUN,
                "backbone.",
                ("neck.",),
                (("neck.",), ("momentum_encoder.",), ("backbone.cls_token",)),
            ),
        ),
    ),
    Format(
        "SEED",
        "state_dict with student.*, teacher.* and queue; projector fc",
        (Layout(_RUN, "student.", ("student.fc.", "student.classifier."), (("queue",),)),),
    ),
    Format(
        "SimSiam",
        "state_dict with encoder.* and predictor.*; projector fc",
        (
            Layout(
                _RUN,
                "encoder.",
                ("encoder.fc.",),
                (("encoder.fc.6.",),),
                lacks=("projector.", "classifier."),
            ),
        ),
    ),
    Format(
        "BYOL of PyTorch-BYOL",
        "online_network_state_dict with encoder.* and projetion.*",
        (
            Layout(
                ("online_network_state_dict", "target_network_state_dict", FLAT),
                "encoder.",
                ("projetion.net.",),
                (("projetion.",),),
            ),
        ),
    ),
    Format(
        CLASSIC_HOST,
        "state_dict with encoder.* and classifier.*; projector projector, or head of DINO",
        (
            *_solo("encoder."),
            Layout(_RUN, "encoder.", _SOLO_HEADS, (_SOLO_HEADS,), stem="small", sure=False),
        ),
    ),
    Format(
        CURRENT_HOST,
        "state_dict with backbone.* and classifier.*; projector projector, or head of DINO",
        _solo("backbone."),
    ),
    Format(
        "VISSL",
        f"{_VISSL} with trunk and heads",
        (Layout((_VISSL,), "trunk._feature_blocks.", ("heads.",), activation=None),),
    ),
    Format(
        naming.OPENMMLAB,
        "state_dict with backbone.* and neck.* (or encoder_q.0 and .1, or online_net.0 and .1)",
        (
            Layout(_RUN, "backbone.", ("neck.mlp.", "neck."), (("neck.",),)),
            Layout(_RUN, "online_net.0.", ("online_net.1.",), (("online_net.1.",),)),
        ),
    ),
    Format(
        "lightly",
        "state_dict with backbone.* and projection_head.*, or teacher_backbone.* of its DINO",
        (
            Layout(
                _RUN, "backbone.", ("projection_head.layers.",), (("projection_head.layers.",),)
            ),
            Layout(
                _RUN,
                "backbone.",
                ("projection_head.",),
                (("projection_head.",),),
                activation=None,
            ),
            *(
                Layout(
                    _RUN,
                    f"{role}_backbone.",
                    (f"{role}_head.layers.", f"{role}_head.dino_head.layers."),
                    activation="gelu",
                )
                for role in _DINO
            ),
        ),
    ),
    Format(
        "BYOL of byol-pytorch",
        "the learner's state dict: net.* and online_encoder.*",
        (Layout(_RUN, "net.", ("online_encoder.projector.",), (("online_encoder.",),)),),
    ),
    Format(
        DINO,
        "teacher (or student) with backbone.*; projector head.mlp, up to its bottleneck",
        (
            Layout(_DINO, "backbone.", _DINO_HEADS, activation="gelu"),
            plain(_DINO, ""),
            Layout(_RUN, "backbone.", _DINO_HEADS, (_DINO_HEADS,), activation="gelu"),
        ),
    ),
    Format(
        "Barlow Twins, VICReg",
        "model, or flat, with backbone.*; projector projector",
        (
            Layout(("model", FLAT), "backbone.", ("projector.",), (("projector.",),)),
            Layout(_RUN, "backbone.", ("projector.",), (("projector.",),), activation=None),
        ),
    ),
    Format(
        "SwAV",
        "flat, or state_dict; projector projection_head",
        (
            Layout(
                _RUN,
                "",
                ("projection_head.",),
                (("projection_head.", "prototypes."), ("conv1.", "layer1.")),
                ignored=("prototypes",),
            ),
        ),
    ),
    Format(
        "SupContrast",
        "model with encoder.* and head.*",
        (Layout(("model",), "encoder.", ("head.",), (("head.0.",),), stem="3x3"),),
    ),
    Format(
        "SimCLR of PyTorch-SimCLR",
        "state_dict with backbone.*, whose fc is the projector",
        (
            Layout(
                _RUN,
                "backbone.",
                ("backbone.fc.",),
                (("backbone.fc.0.",), ("backbone.fc.2.",)),
                lacks=("classifier.", "head"),
            ),
        ),
    ),
    Format(
        "CompRess",
        "model and opt; the fc of its one queue is the embedding",
        (Layout(("model",), "", ("fc.",), (("fc.weight",),), argument="compress_memory_size"),),
    ),
    Format(
        "torchvision, timm",
        "flat, or in state_dict, model, net, an EMA and the like; no projector; also the backbones "
        "published by DINO, DINOv2, Barlow Twins and VICReg",
        (plain(CONTAINERS, ""),),
    ),
)
# Those two are known otherwise than by a layout.
HUGGING_FACE = Format(
    naming.HUGGING_FACE,
    "model.safetensors of a ResNet, ViT, ViT-MAE, DINOv2, DINOv3 or a wrapped timm model",
    (),
)
ANYWHERE = Format(
    "a network under a prefix",
    "any of these networks where every key has a prefix, such as model. or net.encoder.",
    (),
)
ALL_FORMATS = (*FORMATS, HUGGING_FACE, ANYWHERE)
# beside a network under a prefix, what may be its projector
PROJECTORS = ("projector.", "projection_head.", "projection.", "proj_head.", "projection_mlp.")
# words in a prefix of the slower copy of another network
TWINS = frozenset("momentum ema target shadow swa key k averaged old".split())
