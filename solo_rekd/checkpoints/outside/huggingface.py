"""A folder from Hugging Face as a backbone: nothing is downloaded, and none of its code runs."""

import hashlib
import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from solo_rekd.checkpoints.beside import CONFIG, read_beside
from solo_rekd.checkpoints.facts import Facts
from solo_rekd.checkpoints.formats import HUGGING_FACE as FORMAT
from solo_rekd.checkpoints.loaded import Loaded
from solo_rekd.checkpoints.preprocessing import preprocessing_of, refuse_unknown_size
from solo_rekd.config import HUGGING_FACE
from solo_rekd.utils.errors import UserError, refuse_missing
from solo_rekd.utils.files import sha256

PACKAGES = ("transformers",)


class HuggingFaceBackbone(nn.Module):
    """The vision model of a folder, from images to one vector each.

    The features are the model's own pooling (ResNet, ConvNeXt, Swin, DINOv2, DINOv3); if it pools
    with trained weights or not at all, they are its class token or the mean of its map.

    Args:
        model: model of transformers.

    Attributes:
        num_features: width of the features, set by the code that builds it.
    """

    num_features: int

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        accepted = inspect.signature(model.forward).parameters
        resizes = "interpolate_pos_encoding" in accepted
        self._options = {"interpolate_pos_encoding": True} if resizes else {}
        pooler = getattr(model, "pooler", None)
        self._pools = pooler is None or not any(True for _ in pooler.parameters())

    def forward(self, images: Tensor) -> Tensor:
        """Maps images (B, 3, H, W) to features (B, num_features)."""
        out = self.model(pixel_values=images, return_dict=True, **self._options)
        pooled = getattr(out, "pooler_output", None)
        if pooled is not None and self._pools:
            return pooled.flatten(1)
        last = out.last_hidden_state
        return last[:, 0] if last.ndim == 3 else last.mean((-2, -1))

    @property
    def pooling(self) -> str:
        """Describes the pooling in words."""
        return "the model's own pooling" if self._pools else "class token, before the pooler"


def is_folder(path: Path) -> bool:
    """Whether a path is a folder that transformers wrote."""
    return path.is_dir() and (path / CONFIG).is_file()


def read_folder(path: Path, img_size: int | None) -> Loaded:
    """Reads a folder that transformers wrote.

    Args:
        path: path of the folder.
        img_size: side of the square inputs, in px; None: the size that it was trained at.

    Returns:
        The backbone and what is known of it.

    Raises:
        UserError: see `load_folder`; or the model does not accept images of that side.
    """
    backbone, config = load_folder(path)
    preprocessing = preprocessing_of(path, HUGGING_FACE, FORMAT.name, {})
    size = img_size or preprocessing.size or _side(config) or refuse_unknown_size("teacher")
    backbone.num_features = _features(path, backbone, size)
    facts = Facts(
        path=str(path),
        sha256=digest_of(path),
        format=FORMAT.name,
        architecture=str(config["model_type"]),
        num_features=backbone.num_features,
        matched=len(backbone.state_dict()),
        pooling=backbone.pooling,
        preprocessing=preprocessing,
    )
    return Loaded(backbone, None, size, facts)


def _side(config: dict[str, Any]) -> int | None:
    side = config.get("image_size")
    return side if isinstance(side, int) else None


def _features(path: Path, backbone: HuggingFaceBackbone, size: int) -> int:
    """Measures the width of the features on a black image."""
    backbone.eval()
    try:
        with torch.no_grad():
            features = backbone(torch.zeros(1, 3, size, size))
    except Exception as error:  # of any kind, for any of its models
        cause = str(error).strip().partition("\n")[0]
        raise UserError(f"{path} does not take images of {size} px: {cause}") from error
    backbone.train()
    return int(features.shape[1])


def load_folder(path: Path) -> tuple[HuggingFaceBackbone, dict[str, Any]]:
    """Builds the model of a folder with all its weights.

    Args:
        path: a folder with `config.json` and safetensors.

    Returns:
        The backbone, and the content of `config.json`.

    Raises:
        UserError: transformers is missing, the folder does not hold a vision model that it knows,
            or lacks safetensors or weights.
    """
    refuse_missing(PACKAGES, "hf")
    if not is_folder(path):
        raise UserError(f"{path} is not a folder of transformers: it has no config.json")
    config = read_beside(path, CONFIG)
    if "model_type" not in config:
        raise UserError(
            f"{path} is not a folder of transformers: its config.json has no model_type"
        )
    from transformers import AutoModel
    from transformers.utils import logging

    level, shows = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # it warns about an unused head, which is intended
    logging.disable_progress_bar()
    try:
        # only safetensors, and no code from the folder
        model, report = AutoModel.from_pretrained(
            path,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # of any kind, for any of its models
        cause = str(error).strip().partition("\n")[0]
        raise UserError(f"transformers cannot read {path}: {cause}") from error
    finally:
        logging.set_verbosity(level)
        if shows:
            logging.enable_progress_bar()
    _refuse_partial(path, report)
    if "pixel_values" not in inspect.signature(model.forward).parameters:
        raise UserError(f"{path} is a {config['model_type']}, which does not take images")
    return HuggingFaceBackbone(model), config


def _refuse_partial(path: Path, report: dict[str, Any]) -> None:
    missing = [key for key in report["missing_keys"] if not key.startswith("pooler.")]
    wrong = [str(each[0]) for each in report["mismatched_keys"]]
    for keys, what in ((missing, "missing"), (wrong, "of another shape")):
        if keys:
            raise UserError(f"{path}: {len(keys)} weights are {what}, the first {sorted(keys)[0]}")


def weights_of(path: Path) -> list[Path]:
    """The files of weights in a folder, by name."""
    return sorted(path.glob("*.safetensors"))


def digest_of(path: Path) -> str:
    """Returns the SHA-256 of the weights file, or of all shards' digests, in hexadecimal."""
    digests = [sha256(file) for file in weights_of(path)]
    return digests[0] if len(digests) == 1 else _joined(digests)


def _joined(digests: Iterable[str]) -> str:
    return hashlib.sha256("".join(digests).encode()).hexdigest()
