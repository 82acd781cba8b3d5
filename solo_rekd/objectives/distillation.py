"""The base of every objective: the student's projector, a teacher, and its own training."""

import copy
import logging
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.utils.data import DataLoader

from solo_rekd.checkpoints import linear_projector, two_layer_projector
from solo_rekd.config import IMAGE, LINEAR, DistillationConfig
from solo_rekd.lengths import AUTO, SHARE, Training
from solo_rekd.losses import symmetric_info_nce_loss
from solo_rekd.modules.queue import KeyQueue, gather, random_keys
from solo_rekd.objectives.drawn_views import DrawnViews, find_drawn
from solo_rekd.objectives.mixup import Mixed, class_loss
from solo_rekd.objectives.taught_images import TaughtImages, find_taught
from solo_rekd.objectives.teacher_cache import cache_folder
from solo_rekd.objectives.watch import Watch, watch_step
from solo_rekd.teachers import OnlineTeacher, build_teacher
from solo_rekd.utils.errors import refuse
from solo_rekd.utils.precision import finite
from solo_rekd.utils.processes import is_first, rank, world_size

_log = logging.getLogger("solo_rekd")

STUDENT_LOSS, FLOOR = "student_loss", "loss_floor"  # names of metrics, see `forward`
# losses that train a teacher or a classifier, but not the student
OTHERS_LOSSES = ("teacher_nce_loss", "teacher_class_loss", "task_class_loss")
VIEWS_SEED = 0  # seed of `teacher_image_views` and `drawn_views`, which runs of all seeds share


class HostRun(NamedTuple):
    """What an objective needs to know about its run.

    Attributes:
        features_dim: width f of the student's pooled features.
        num_classes: number of classes, for the teacher's online accuracy.
        img_size: side of the training crops, in px.
        max_epochs: length of the training.
        mean: channel means that the images are normalised with, in [0, 1]; None: not known.
        std: channel standard deviations that they are normalised with, in [0, 1]; None: not known.
        teacher: the teacher for the setting `teacher=module`: images (B, 3, H, W) to features
            (B, F).
    """

    features_dim: int
    num_classes: int
    img_size: int
    max_epochs: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    teacher: nn.Module | None = None


class Batch(NamedTuple):
    """One batch in a host's training step.

    Attributes:
        images: two views, each of shape (B, 3, H, W), already mixed with `mixup`.
        features: the student's features of each view, shape (B, f).
        momentum_features: its momentum twin's features, without gradient; empty where the settings
            do not need them (`reads_momentum`).
        labels: shape (B,), -1 for images without one; the student learns from them only on request,
            and the host then ensures that they exist (`DistillationObjective.needs_labels`).
        indexes: the images' indexes in the training set, shape (B,); a host leaves them on the CPU
            if it can.
        mixed: how the images were mixed; None: they were not. Labels and indexes belong to the
            image with the larger share.
    """

    images: list[Tensor]
    features: list[Tensor]
    momentum_features: list[Tensor]
    labels: Tensor
    indexes: Tensor
    mixed: Mixed | None = None


class Taught(NamedTuple):
    """The teacher's outputs for two views, without gradient.

    Attributes:
        features: pooled features of each view, shape (B, F).
        embeddings: L2-normalised projections of each view, shape (B, d).
    """

    features: list[Tensor]
    embeddings: list[Tensor]


class Neighbours(NamedTuple):
    """The neighbours that batches hold beside their anchors, for objectives that need them.

    Attributes:
        members: indexes in the training set of the p images most similar to each, shape (N, p).
        number: k, the neighbours drawn per anchor, from 1 to p.
    """

    members: Tensor
    number: int


class DistillationObjective(nn.Module):
    """A student's projector and a teacher; subclasses turn two views into named losses.

    Args:
        config: the settings of the run.
        run: see `HostRun`.

    Raises:
        UserError: the teacher's checkpoint or the width of its embeddings is refused.

    Attributes:
        run: as given.
        projector: the student's projector, features (B, f) to embeddings (B, d).
        momentum_projector: its momentum twin; None where the settings do not need it.
        teacher: the online or frozen teacher.
        queues: one per view, made by the subclass; empty where there is no queue.
        taught_images: a frozen teacher's outputs for each image, with `teacher_view=image`.
        needs_labels: why labels are needed; empty: they are not.
        neighbours: set by `before_training`, the neighbours for the host's batches; None: batches
            are random.
        numbers: images of each process in the step, where they may differ; None: they are equal.
        drawn_views: set by `before_training` with the setting of that name: the views for the
            host's batches and the teacher's outputs for them; else None.
        watch: reports what goes wrong in the steps.
        embedded: the projector's output for the first view in the last step, shape (B, d), without
            gradient; None if a subclass applies its projector otherwise.
    """

    config_class: ClassVar[type[DistillationConfig]]
    projector: nn.Module
    momentum_projector: nn.Module | None
    queues: "list[KeyQueue]"
    needs_labels: str
    neighbours: Neighbours | None = None
    drawn_views: DrawnViews | None = None
    numbers: tuple[int, ...] | None = None
    # not a buffer: DDP would broadcast it at every step, and every checkpoint would hold it
    taught_images: TaughtImages
    embedded: Tensor | None = None

    def __init__(self, config: DistillationConfig, run: HostRun) -> None:
        super().__init__()
        self.config = config = config.settled(run.max_epochs)
        self.run = run
        self.watch = Watch()
        self.register_forward_hook(watch_step)
        self.needs_labels = config.reads_labels
        self.set_projector(self.new_projector())
        self.teacher = build_teacher(config, run.img_size, run.mean, run.std, run.teacher)
        config.refuse_width(self.teacher.embedding_dim)
        self.teacher_classifier = None
        if config.teacher_probe == "on":
            # the learning rate of the host's probe suits features of unit variance, not any others
            self.teacher_classifier = nn.Sequential(
                nn.BatchNorm1d(self.teacher.num_features, affine=False),
                nn.Linear(self.teacher.num_features, run.num_classes),
            )

    @property
    def possible_prototypes(self) -> int:
        """How many prototypes could have an entry in a queue; 0: none are found."""
        return 0

    def new_projector(self) -> nn.Module:
        """Builds the student's projector, (B, f) to (B, d); only `config` and `run` are set yet."""
        features, config = self.run.features_dim, self.config
        if config.projector == LINEAR:
            return linear_projector(features, config.proj_output_dim)
        return two_layer_projector(features, config.proj_hidden_dim, config.proj_output_dim)

    def set_projector(self, projector: nn.Module) -> None:
        """Sets the student's projector, and a copy for its momentum twin if there is one."""
        self.projector = projector
        self.momentum_projector = None
        if self.config.reads_momentum:
            self.momentum_projector = copy.deepcopy(projector).requires_grad_(False)

    def learnable_params(self, classifier_lr: float, lr: float) -> list[dict[str, Any]]:
        """Returns parameter groups for the optimiser; a frozen teacher has none.

        Args:
            classifier_lr: learning rate of online classifiers.
            lr: learning rate of the student.
        """
        groups: list[dict[str, Any]] = [
            {"name": "projector", "params": list(self.projector.parameters())}
        ]
        if isinstance(self.teacher, OnlineTeacher):
            trained = [p for p in self.teacher.parameters() if p.requires_grad]
            teachers = {"lr": lr * self.config.teacher_lr} if self.config.teacher_lr != 1 else {}
            groups.append({"name": "teacher", "params": trained, **teachers})
        if self.teacher_classifier is not None:
            group = classifier_group("teacher_classifier", self.teacher_classifier, classifier_lr)
            groups.append(group)
        return groups

    @property
    def momentum_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        """Returns pairs (network, its momentum twin) that the host updates after each step."""
        pairs: list[tuple[nn.Module, nn.Module]] = []
        if self.momentum_projector is not None:
            pairs.append((self.projector, self.momentum_projector))
        if isinstance(self.teacher, OnlineTeacher):
            pairs += self.teacher.momentum_pairs
        return pairs

    def before_training(
        self, training_images: Callable[..., DataLoader], training: Training
    ) -> None:
        """Lets an objective read the whole training set once, before a run's first step.

        A resumed run calls this too.

        Args:
            training_images: makes a loader of the images in the order of `Batch.indexes`, without
                augmentation, in batches of (indexes, images, labels); with `views=k` and `seed`,
                in k augmented views each, determined by the seed, of shape (B, k, 3, H, W). Raises
                a UserError where the host's loader does not identify its images.
            training: length of the training; its images are those of one epoch's batches.
        """
        self.watch.epoch_steps = training.steps
        self.report_queue(training)
        if self.config.teacher_view == IMAGE:
            views = self.config.teacher_image_views
            self.taught_images = find_taught(
                self.teacher,  # type: ignore[arg-type]
                self.config.teacher_stem,
                training_images(views=views, seed=VIEWS_SEED) if views > 1 else training_images(),
                views,
                VIEWS_SEED,
                cache_folder(self.config.teacher_cache),
            )
        if self.config.drawn_views:
            self.drawn_views = self.draw_views(training_images)

    def draw_views(self, training_images: Callable[..., DataLoader]) -> DrawnViews:
        """Draws the views of `drawn_views` and runs the teacher, or reads both from the cache."""
        views, run = self.config.drawn_views, self.run
        if run.mean is None or run.std is None:
            raise refuse("drawn_views", views, "0 where the images' mean and std are not known")
        return find_drawn(
            self.teacher,  # type: ignore[arg-type]
            self.config.teacher_stem,
            training_images(views=views, seed=VIEWS_SEED),
            (run.mean, run.std),
            views,
            VIEWS_SEED,
            run.img_size,
            cache_folder(self.config.teacher_cache),
        )

    def before_epoch(self, training_images: Callable[..., DataLoader], epoch: int) -> None:
        """Lets an objective read the whole training set again, before an epoch's first step.

        Args:
            training_images: see `before_training`.
            epoch: epochs completed so far.
        """

    def report_queue(self, training: Training) -> None:
        """Warns of a queue that is not filled for most of the training."""
        size, keys = self.config.queue_size, self.config.KEYS_PER_IMAGE * training.seen
        # the first step fills a shorter one
        if not is_first() or size <= max(keys // SHARE, training.batch):
            return
        when = (
            "never filled"
            if size > keys
            else f"filled only after {size / keys:.0%} of the training"
        )
        _log.warning(
            "queue_size=%d is %s: the training sees %d images; give at most %d, or %s",
            *(size, when, training.seen, max(keys // SHARE, 1), AUTO),
        )

    def query(self, batch: Batch) -> list[Tensor]:
        """Returns the student's unit query of each view, shape (B, d)."""
        queries = [normalize(self.projector(view), dim=1) for view in batch.features]
        self.embedded = queries[0].detach()
        return queries

    @torch.no_grad()
    def key(self, batch: Batch) -> list[Tensor]:
        """Returns its momentum twin's unit key per view, (B, d), no gradient, always finite."""
        assert self.momentum_projector is not None  # only called where the settings need it
        views = batch.momentum_features
        return [finite(normalize(self.momentum_projector(view), dim=1)) for view in views]

    def view_queues(self, **fields: Tensor) -> list[KeyQueue]:
        """Makes one queue per view, with an online teacher's embeddings as field `teacher`.

        Args:
            fields: initial content of further fields, shape (K, ...).
        """
        if isinstance(self.teacher, OnlineTeacher) and "teacher" not in fields:
            fields["teacher"] = random_keys(self.config.queue_size, self.teacher.embedding_dim)
        queues = [KeyQueue(**{k: v.clone() for k, v in fields.items()}) for _ in range(2)]
        return nn.ModuleList(queues)  # type: ignore[return-value]

    def gather(self, values: Tensor) -> Tensor:
        """The values of the global batch, in rank order, without gradient: (B, ...) of each."""
        return gather(values, self.numbers)

    def whole_batch(self, number: int) -> int:
        """Images of the global batch; `number` of them are this process's."""
        return number * world_size() if self.numbers is None else sum(self.numbers)

    def place(self, number: int) -> int:
        """The place of this process's first image in the global batch; `number` are its own."""
        return rank() * number if self.numbers is None else sum(self.numbers[: rank()])

    def push(self, **views: list[Tensor]) -> None:
        """Pushes the global batch into the queues.

        Args:
            views: for each field, the values of each view, shape (B, ...); fields that the queues
                lack are ignored.
        """
        for view, queue in enumerate(self.queues):
            queue.push(**{name: self.gather(views[name][view]) for name in queue.names})

    def entries(self, field: str) -> list[Tensor]:
        """Returns the queues' entries of one field, each of shape (K, ...)."""
        return [queue[field] for queue in self.queues]

    @staticmethod
    def mix(batch: Batch, looked_up: Tensor, *, unit: bool = True) -> Tensor:
        """Mixes values that were looked up per image, at `batch.indexes`, as the images are mixed.

        Args:
            batch: batch with the mix of its images, if any.
            looked_up: one row per image, shape (B, ...).
            unit: whether the last dimension is a unit vector, and is normalised again.

        Returns:
            The same shape; `looked_up` itself where the images are not mixed.
        """
        if batch.mixed is None:
            return looked_up
        mixed = batch.mixed.rows(looked_up)
        return normalize(mixed, dim=-1) if unit else mixed

    def teach(self, batch: Batch) -> tuple[Taught, dict[str, Tensor], dict[str, Tensor]]:
        """Runs the teacher on both views; an online teacher also gets its InfoNCE.

        With `teacher_view=image` a frozen teacher does not run: its output for each image is used
        for both views. With `drawn_views` it does not run either, as it has seen these views
        before. An online teacher's queries of a view are contrasted with the field `teacher` of the
        other view's queue.

        Args:
            batch: its images, labels and indexes are read.

        Returns:
            The teacher's outputs, its losses, and its metrics.
        """
        losses: dict[str, Tensor] = {}
        if isinstance(self.teacher, OnlineTeacher):
            asked = [self.teacher.query(view) for view in batch.images]
            said = [self.teacher.key(view) for view in batch.images]
            queries = [embedding for _, embedding in asked]
            keys = [embedding for _, embedding in said]
            entries = self.entries("teacher")
            temperature = self.config.teacher_temperature
            losses["teacher_nce_loss"] = symmetric_info_nce_loss(
                queries, keys, entries, temperature
            )
        elif self.config.teacher_view == IMAGE:
            features, embeddings = self.taught_images.look_up(
                batch.indexes, self.teacher.dtype, batch.images[0].device
            )
            of_image = self.mix(batch, features, unit=False), self.mix(batch, embeddings)
            asked = said = [of_image] * len(batch.images)
        elif self.drawn_views is not None:
            asked = said = self.drawn_views.look_up(
                batch.indexes, self.teacher.dtype, batch.images[0].device
            )
        else:
            asked = said = self.teacher.views(batch.images)
        metrics: dict[str, Tensor] = {}
        if self.teacher_classifier is not None:
            features = finite(torch.cat([features for features, _ in asked]).detach())
            logits = self.teacher_classifier(features)
            twice = batch.labels.repeat(len(batch.images))
            known = (twice >= 0).sum().clamp(min=1)
            losses["teacher_class_loss"] = class_loss(logits, batch.labels, batch.mixed)
            metrics["teacher_acc1"] = 100 * (logits.argmax(1) == twice).sum() / known
        taught = Taught([features for features, _ in said], [unit for _, unit in said])
        return taught, losses, metrics

    def forward(self, batch: Batch, epoch: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Computes the training loss of one batch.

        Args:
            batch: see `Batch`.
            epoch: epochs completed so far.

        Returns:
            The loss, a scalar, and the loss parts and metrics to log by name. Where teacher and
            data alone determine how low the student's part of the loss can get, the metric
            `loss_floor` is a lower bound, which the subclass derives. There is none where the
            student's momentum twin makes the target or the dictionary.
        """
        raise NotImplementedError


def student_loss(loss: Tensor, logs: Mapping[str, Tensor]) -> Tensor:
    """Returns the part of an objective's loss that trains the student, a scalar without gradient.

    Args:
        loss: loss from `DistillationObjective.forward`.
        logs: metrics from `DistillationObjective.forward`.
    """
    return loss.detach() - sum(logs[name].detach() for name in OTHERS_LOSSES if name in logs)


def classifier_group(name: str, classifier: nn.Module, lr: float) -> dict[str, Any]:
    """Returns the parameter group of a linear classifier, trained like the host's online one."""
    return {"name": name, "params": list(classifier.parameters()), "lr": lr, "weight_decay": 0}
