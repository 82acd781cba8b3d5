"""What every objective has: the student's head, a teacher, and the teacher's own training."""

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
from solo_rekd.utils.processes import is_first

_log = logging.getLogger("solo_rekd")

STUDENT_LOSS, FLOOR = "student_loss", "loss_floor"  # names of metrics, see `forward`
# what trains a teacher or a classifier, and no student
OTHERS_LOSSES = ("teacher_nce_loss", "teacher_class_loss", "task_class_loss")
VIEWS_SEED = 0  # of `teacher_image_views` and `drawn_views`: runs of all seeds share them


class HostRun(NamedTuple):
    """What an objective has to know of the run that it trains in.

    Attributes:
        features_dim: width f of the student's pooled features.
        num_classes: classes of the labels, for the teacher's online accuracy.
        img_size: side of the training crops in pixels.
        max_epochs: length of the training.
        mean: of the images' channels before they were normalised, in [0, 1]; None: not known.
        std: their standard deviations, likewise.
        teacher: the teacher where the settings have `teacher=module`: images (B, 3, H, W) to
            features (B, F).
    """

    features_dim: int
    num_classes: int
    img_size: int
    max_epochs: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    teacher: nn.Module | None = None


class Batch(NamedTuple):
    """What a host's training step has of one batch.

    Attributes:
        images: two views, each of shape (B, 3, H, W), with `mixup` already mixed.
        features: the student's features of each view, shape (B, f).
        momentum_features: those of its momentum twin, without gradient; none where the settings
            read none (`reads_momentum`).
        labels: shape (B,), -1 where there is none; they reach the student only on request, and the
            host sees to it that they are there then (`DistillationObjective.needs_labels`).
        indexes: the images' places in the training set, shape (B,); a host leaves them on the CPU
            where it can.
        mixed: how the images were mixed; None: they were not. Labels and indexes are of the image
            that has the larger share.
    """

    images: list[Tensor]
    features: list[Tensor]
    momentum_features: list[Tensor]
    labels: Tensor
    indexes: Tensor
    mixed: Mixed | None = None


class Taught(NamedTuple):
    """What the teacher says of two views, without gradient.

    Attributes:
        features: pooled features of each view, shape (B, F).
        embeddings: L2-normalised projections of each view, shape (B, d).
    """

    features: list[Tensor]
    embeddings: list[Tensor]


class Neighbours(NamedTuple):
    """What a batch holds beside its anchors, where an objective asks for more than chance.

    Attributes:
        members: places in the training set of the p images most alike to each, shape (N, p).
        number: k, of these drawn for an anchor, from 1 to p.
    """

    members: Tensor
    number: int


class DistillationObjective(nn.Module):
    """A student's head and a teacher; subclasses turn two views into named losses.

    Args:
        config: the settings of the run.
        run: see `HostRun`.

    Raises:
        UserError: the teacher's checkpoint is refused, or the width of its embeddings.

    Attributes:
        run: as given.
        projector: the student's head, features (B, f) to embeddings (B, d).
        momentum_projector: its momentum twin; None where the settings read none.
        teacher: online or frozen.
        queues: one a view, made by the subclass; none where nothing is contrasted with a queue.
        taught_images: what a frozen teacher says of each image, with `teacher_view=image`.
        needs_labels: what cannot do without labels; empty: nothing.
        neighbours: from `before_training` on, what the host's batches are to hold; None: images by
            chance.
        drawn_views: from `before_training` on, with the setting of that name, the views that the
            host's batches are to hold, and what the teacher says of them; else None.
        watch: says what goes wrong in the steps.
        embedded: what the head made of the first view in the last step, shape (B, d), without
            gradient.
    """

    config_class: ClassVar[type[DistillationConfig]]
    projector: nn.Module
    momentum_projector: nn.Module | None
    queues: "list[KeyQueue]"
    needs_labels: str
    neighbours: Neighbours | None = None
    drawn_views: DrawnViews | None = None
    # no buffer: DDP would broadcast it at every step, and every checkpoint hold it
    taught_images: TaughtImages
    embedded: Tensor

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
            # the host's probe learning rate suits features of unit variance, not any teacher's
            self.teacher_classifier = nn.Sequential(
                nn.BatchNorm1d(self.teacher.num_features, affine=False),
                nn.Linear(self.teacher.num_features, run.num_classes),
            )

    @property
    def possible_prototypes(self) -> int:
        """How many prototypes could have an entry in a queue; 0: none are found."""
        return 0

    def new_projector(self) -> nn.Module:
        """Builds the student's head, (B, f) to (B, d); only `config` and `run` are there yet."""
        features, config = self.run.features_dim, self.config
        if config.projector == LINEAR:
            return linear_projector(features, config.proj_output_dim)
        return two_layer_projector(features, config.proj_hidden_dim, config.proj_output_dim)

    def set_projector(self, projector: nn.Module) -> None:
        """Takes a head for the student, and a copy for its momentum twin where there is one."""
        self.projector = projector
        self.momentum_projector = None
        if self.config.reads_momentum:
            self.momentum_projector = copy.deepcopy(projector).requires_grad_(False)

    def learnable_params(self, classifier_lr: float, lr: float) -> list[dict[str, Any]]:
        """Parameter groups for the optimiser; a frozen teacher has none.

        Args:
            classifier_lr: learning rate of online classifiers.
            lr: the student's.
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
        """Pairs (network, its momentum twin) which the host averages after each step."""
        pairs: list[tuple[nn.Module, nn.Module]] = []
        if self.momentum_projector is not None:
            pairs.append((self.projector, self.momentum_projector))
        if isinstance(self.teacher, OnlineTeacher):
            pairs += self.teacher.momentum_pairs
        return pairs

    def before_training(
        self, training_images: Callable[..., DataLoader], training: Training
    ) -> None:
        """Lets an objective see the whole training set once, before a run's first step.

        A resumed run comes here too.

        Args:
            training_images: makes a loader of the images in the order of `Batch.indexes`, without
                augmentation, in batches of (indexes, images, labels); with `views=k` and `seed`,
                in k augmented views each, which the seed decides, of shape (B, k, 3, H, W). Raises
                a UserError where the host's loader does not tell which image is which.
            training: how long it is; its images are those of one epoch's batches.
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
        """Draws the views of `drawn_views`, and asks the teacher, or reads both from the cache."""
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
        """Lets an objective see the whole training set again, before an epoch's first step.

        Args:
            training_images: see `before_training`.
            epoch: epochs completed so far.
        """

    def report_queue(self, training: Training) -> None:
        """Warns of a queue that most of the training does not see filled."""
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
        """The student's unit query of each view, shape (B, d)."""
        queries = [normalize(self.projector(view), dim=1) for view in batch.features]
        self.embedded = queries[0].detach()
        return queries

    @torch.no_grad()
    def key(self, batch: Batch) -> list[Tensor]:
        """Its momentum twin's unit key of each view, (B, d), without gradient and always finite."""
        assert self.momentum_projector is not None  # of a class whose settings read it
        views = batch.momentum_features
        return [finite(normalize(self.momentum_projector(view), dim=1)) for view in views]

    def view_queues(self, **fields: Tensor) -> list[KeyQueue]:
        """One queue a view, with an online teacher's embeddings as field `teacher`.

        Args:
            fields: initial content of further fields, shape (K, ...).
        """
        if isinstance(self.teacher, OnlineTeacher) and "teacher" not in fields:
            fields["teacher"] = random_keys(self.config.queue_size, self.teacher.embedding_dim)
        queues = [KeyQueue(**{k: v.clone() for k, v in fields.items()}) for _ in range(2)]
        return nn.ModuleList(queues)  # type: ignore[return-value]

    def push(self, **views: list[Tensor]) -> None:
        """Pushes the global batch into the queues.

        Args:
            views: for each field the values of each view, shape (B, ...); those of a field that
                the queues lack are left out.
        """
        for view, queue in enumerate(self.queues):
            queue.push(**{name: gather(views[name][view]) for name in queue.names})

    def entries(self, field: str) -> list[Tensor]:
        """The queues' entries of one field, each of shape (K, ...)."""
        return [queue[field] for queue in self.queues]

    @staticmethod
    def mix(batch: Batch, looked_up: Tensor, *, unit: bool = True) -> Tensor:
        """Makes what was looked up by image, at `batch.indexes`, that of the batch's mixed images.

        Args:
            batch: says how its images were mixed, if at all.
            looked_up: a row for each image, shape (B, ...).
            unit: whether the last dimension is a unit vector, and is to be one afterwards.

        Returns:
            The same shape; `looked_up` itself where the images are not mixed.
        """
        if batch.mixed is None:
            return looked_up
        mixed = batch.mixed.rows(looked_up)
        return normalize(mixed, dim=-1) if unit else mixed

    def teach(self, batch: Batch) -> tuple[Taught, dict[str, Tensor], dict[str, Tensor]]:
        """Runs the teacher on both views; an online one also gets its InfoNCE.

        With `teacher_view=image` a frozen one does not run: what it said of each image stands for
        both views. Nor does it with `drawn_views`, where it has seen these very views before. An
        online teacher's queries of a view are contrasted with the field `teacher` of the other's
        queue.

        Args:
            batch: images, labels and indexes are read.

        Returns:
            What the teacher says, its losses, and its metrics.
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
            The loss, a scalar, and what to log: every loss part and metric by name. Where teacher
            and data alone decide the least value that the student's part of the loss can have, the
            metric `loss_floor` is a bound from below, which the subclass derives. There is none
            where the student's own momentum twin makes the target or the dictionary.
        """
        raise NotImplementedError


def student_loss(loss: Tensor, logs: Mapping[str, Tensor]) -> Tensor:
    """The part of an objective's loss that trains the student, a scalar without gradient.

    Args:
        loss: what `DistillationObjective.forward` returns.
        logs: what it returns to log.
    """
    return loss.detach() - sum(logs[name].detach() for name in OTHERS_LOSSES if name in logs)


def classifier_group(name: str, classifier: nn.Module, lr: float) -> dict[str, Any]:
    """The parameter group of a linear classifier, trained as the host's online classifier is."""
    return {"name": name, "params": list(classifier.parameters()), "lr": lr, "weight_decay": 0}
