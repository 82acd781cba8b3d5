"""From the settings of a teacher to the teacher."""

from torch import nn

from solo_rekd.backbones import build_backbone
from solo_rekd.checkpoints.load import load_networks
from solo_rekd.checkpoints.projector import two_layer_projector
from solo_rekd.config import DistillationConfig
from solo_rekd.teachers.teacher import FrozenTeacher, OnlineTeacher, make_identity


def build_teacher(config: DistillationConfig, img_size: int) -> OnlineTeacher | FrozenTeacher:
    """Builds the teacher that the settings ask for.

    Args:
        config: the settings named `teacher*`, and the projector's widths.
        img_size: side of the square inputs, in px.

    Returns:
        The teacher. An online one starts from the checkpoint's weights, if one is given, and has
        a new projector, Linear-ReLU-Linear, where that holds none.

    Raises:
        UserError: the backbone is unknown, or the checkpoint is refused.
    """
    name, mode, path = config.teacher, config.teacher_mode, config.teacher_checkpoint
    if path is None:
        backbone = build_backbone(name, img_size, config.teacher_stem, "teacher")
        return OnlineTeacher(backbone, _new_projector(backbone, config), make_identity(mode, name))
    loaded = load_networks(path, name, img_size, config.teacher_stem)
    identity = make_identity(mode, name, path, loaded.sha256)
    if mode == "frozen":
        return FrozenTeacher(loaded.backbone, loaded.projector, identity)
    projector = loaded.projector or _new_projector(loaded.backbone, config)
    return OnlineTeacher(loaded.backbone, projector, identity)


def _new_projector(backbone: nn.Module, config: DistillationConfig) -> nn.Sequential:
    features = int(backbone.num_features)  # type: ignore[arg-type]
    return two_layer_projector(features, config.proj_hidden_dim, config.proj_output_dim)
