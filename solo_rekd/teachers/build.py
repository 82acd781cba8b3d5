"""From the settings of a teacher to the teacher."""

from torch import nn

from solo_rekd.backbones import build_backbone, settle_stem
from solo_rekd.checkpoints.load import load_networks
from solo_rekd.checkpoints.preprocessing import Preprocessing
from solo_rekd.checkpoints.projector import two_layer_projector
from solo_rekd.config import AUTO, NATIVE, DistillationConfig
from solo_rekd.teachers.sight import Sight, log_sight, settle_sight, views_between
from solo_rekd.teachers.teacher import FrozenTeacher, OnlineTeacher, make_identity


def build_teacher(
    config: DistillationConfig,
    img_size: int,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> OnlineTeacher | FrozenTeacher:
    """Builds the teacher that the settings ask for.

    Args:
        config: the settings named `teacher*`, and the projector's widths.
        img_size: side of the student's views, in px.
        mean: of each colour of the student's views, in [0, 1]; None: not known.
        std: of each colour of them, likewise.

    Returns:
        The teacher, which takes the student's views and makes its own of them. An online one
        starts from the checkpoint's weights, if one is given, and has a new projector,
        Linear-ReLU-Linear, where that holds none.

    Raises:
        UserError: the backbone is unknown, the checkpoint is refused, or the teacher is to see
            other colours than the student, whose colours are not known.
    """
    name, mode, path = config.teacher, config.teacher_mode, config.teacher_checkpoint
    student = Sight(img_size, mean, std)
    # that of the file is not known yet
    size = img_size if config.teacher_size in (AUTO, NATIVE) else int(config.teacher_size)
    if path is None:
        sight = settle_sight(config, Preprocessing(), student, size)
        stem = settle_stem(name, size, config.teacher_stem)
        backbone = build_backbone(name, size, config.teacher_stem, "teacher")
        identity = make_identity(mode, name, stem=stem, **sight.record())
        views = views_between(student, sight)
        return OnlineTeacher(backbone, _new_projector(backbone, config), identity, views)
    asked = None if config.teacher_size == NATIVE else size
    loaded = load_networks(path, name, asked, config.teacher_stem)
    sight = settle_sight(config, loaded.preprocessing, student, loaded.img_size)
    log_sight(config, sight, loaded.preprocessing, loaded.stem)
    identity = make_identity(mode, name, path, loaded.sha256, stem=loaded.stem, **sight.record())
    views = views_between(student, sight)
    if mode == "frozen":
        return FrozenTeacher(loaded.backbone, loaded.projector, identity, views)
    projector = loaded.projector or _new_projector(loaded.backbone, config)
    return OnlineTeacher(loaded.backbone, projector, identity, views)


def _new_projector(backbone: nn.Module, config: DistillationConfig) -> nn.Sequential:
    features = int(backbone.num_features)  # type: ignore[arg-type]
    return two_layer_projector(features, config.proj_hidden_dim, config.proj_output_dim)
