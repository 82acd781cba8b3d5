"""Every setting of every objective: one dataclass each, one default, one help text, one source.

Both hosts read these: the classic host's flags are generated from them (`add_flags`), and the
values of a run are checked by the dataclass itself, so a wrong one never reaches training.
"""

import argparse
import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar

from solo_rekd import lengths
from solo_rekd.lengths import AUTO
from solo_rekd.utils.errors import UserError, nearest_first, refuse, refuse_beyond

if TYPE_CHECKING:
    from typing_extensions import Self

NATIVE = "native"  # a `teacher_size`
STEMS = (AUTO, "small", "imagenet")  # kinds of first layers, see `build_backbone`
# stems of ResNets that others adapted to small images: kernel, stride, padding, whether it pools
RESNET_STEMS = {
    "3x3": (3, 1, 1, False),
    "3x3-pool": (3, 1, 1, True),
    "3x3-stride2": (3, 2, 1, False),
    "3x3-stride2-pool": (3, 2, 1, True),
    "7x7-nopool": (7, 2, 3, False),
}
TEACHER_STEMS = (*STEMS, *RESNET_STEMS)
# teachers that are not named backbones: see `checkpoints.outside`, `teachers.given`
HUGGING_FACE, ONNX, MODULE = "huggingface", "onnx", "module"
# how a teacher sees images by default
SIGHT = {"teacher_mean": AUTO, "teacher_std": AUTO, "teacher_size": AUTO}
IMAGE = "image"  # a `teacher_view`
# the values that apply to runs recorded before these settings existed
EARLIER = {
    "teacher_view": "views",
    "teacher_image_views": 0,
    "teacher_precision": AUTO,
    "teacher_lr": 1.0,
    "teacher_frozen": 0.0,
    "relation_view": "views",
    "relation_temperature": 0.05,
    "relation_refresh": 1,
    "relation_schedule": "constant",
    "prototype_levels": 1,
    "mixup": 0.0,
    "projector": "mlp",
    "queue_first": "off",
    "drawn_views": 0,
}
MLP, LINEAR = "mlp", "linear"  # a `projector`

STUDENT_CHECKPOINT = (  # a setting of every pretraining, whatever its method
    "weights that the student and its momentum twin start from, in any format of `solo-rekd list`; "
    "a ResNet gets the stem that the file has"
)

# settings of every run, whatever its method
CHANNELS_LAST, CONTIGUOUS = "channels_last", "contiguous"
MEMORY_FORMATS = (AUTO, CHANNELS_LAST, CONTIGUOUS)
MEMORY_FORMAT = "memory format of images and weights; auto: the faster one for each network"
COMPILE = "compile student and teacher with torch.compile, which takes minutes at the start"
PRECISIONS = (AUTO, "float32", "bfloat16", "float16")  # for a frozen teacher

OURS = "ours"
REKD = "arXiv 2112.04174"
MOCO_V2 = "arXiv 2003.04297"
DISCO = "arXiv 2104.09124"
SEED = "arXiv 2101.04731"
COMPRESS = "the code of arXiv 2010.14713"
BINGO = "arXiv 2107.01691"
MIXUP = "arXiv 1710.09412"
CRCD = "the code of arXiv 2103.16367"
COSS = "the code of arXiv 2409.13939"


def _option(
    default: Any,
    help: str,
    *,
    source: str = OURS,
    unit: str = "",
    parse: Any = None,
    choices: tuple[str, ...] | None = None,
    bounds: tuple[float, float] | None = None,
    nargs: str | None = None,
) -> Any:
    """Makes a dataclass field whose metadata holds what its flag needs."""
    metadata = {
        "help": help,
        "source": source,
        "unit": unit,
        "parse": parse or type(default),
        "choices": choices,
        "bounds": bounds,
        "nargs": nargs,
    }
    return field(default=default, metadata=metadata)


def parse_own_weight(text: str) -> str | float:
    """Reads `own_weight`: a number, or a word that the configuration checks."""
    try:
        return float(text)
    except ValueError:
        return text


def whole_or_auto(text: str) -> str | int:
    """Reads a whole number, or `auto` for one that follows from the run."""
    return AUTO if text == AUTO else int(text)


whole_or_auto.__name__ = "whole number or auto"  # which argparse names


def number_or_auto(text: str) -> str | float:
    """Reads a number, or `auto` for one that follows from other settings."""
    return AUTO if text == AUTO else float(text)


number_or_auto.__name__ = "number or auto"
AUTO_KINDS = {whole_or_auto: "a whole number, or auto", number_or_auto: "a number, or auto"}


def parse_colours(text: str) -> str | tuple[float, ...]:
    """Reads a number per colour, or one for all three; the configuration checks any other text."""
    words = re.sub(r"[\[\](),/'\"]", " ", text).split()
    try:
        numbers = tuple(map(float, words))
    except ValueError:
        return " ".join(words)
    return numbers * 3 if len(numbers) == 1 else numbers


def parse_side(text: str) -> str | int:
    """Reads `teacher_size`: a whole number, or a word that the configuration checks."""
    try:
        return int(text)
    except ValueError:
        return text


@dataclass(frozen=True)
class DistillationConfig:
    """The settings that every objective with a teacher and a queue shares.

    A run replaces each `auto` by a number: see `settled`.
    """

    KEYS_PER_IMAGE: ClassVar[int] = 1  # entries per image that an epoch adds to the queue

    proj_hidden_dim: int = _option(
        2048, "hidden width of two-layer projectors", source=DISCO, bounds=(1, inf)
    )
    proj_output_dim: int = _option(
        128, "dimensions of the embeddings", source=MOCO_V2, bounds=(1, inf)
    )
    projector: str = _option(
        MLP,
        "the student's projector: mlp, two layers with a ReLU between them; linear, one layer. A "
        "teacher's new projector always has two",
        source=MOCO_V2,
        choices=(MLP, LINEAR),
    )
    temperature: float = _option(
        0.2, "student's softmax temperature", source=MOCO_V2, bounds=(1e-4, inf)
    )
    queue_size: int = _option(
        AUTO,
        "length of each view's queue; auto: from 16 for up to 50 images to 65536 for a million or "
        "more, and at most what a tenth of the training fills (docs/queue.md)",
        unit="keys",
        parse=whole_or_auto,
        bounds=(1, inf),
    )
    mixup: float = _option(
        0.0,
        "alpha of the Beta(alpha, alpha) from which each batch draws the share of an image in a "
        "mix of two; student and frozen teacher see the same mix; 1: uniform; 0: no mixing",
        source=MIXUP,
        bounds=(0, 1000),
    )
    teacher: str = _option(
        "resnet50",
        "backbone of the teacher (`solo-rekd list`); or huggingface or onnx, for a network that "
        "another library builds; or module, for one passed in from Python",
        source=REKD,
    )
    teacher_mode: str = _option(
        "online",
        "online: jointly trained with its own InfoNCE; frozen: read from --teacher_checkpoint",
        source=REKD,
        choices=("online", "frozen"),
    )
    teacher_checkpoint: str | None = _option(
        None, "weights of the teacher, in any format of `solo-rekd list`", parse=str
    )
    teacher_stem: str = _option(
        "auto",
        "first layers of the teacher; auto: those its checkpoint was trained with, or for a "
        "teacher from scratch, small for inputs of 64 px or less; the other values give a ResNet's "
        "first convolution, its stride and its pooling",
        choices=TEACHER_STEMS,
    )
    teacher_view: str = _option(
        "views",
        "what the teacher sees: views, the student's views; image, for a frozen teacher only: the "
        "image itself, once before the training, kept in teacher_cache",
        choices=("views", IMAGE),
    )
    teacher_image_views: int = _option(
        0,
        "with teacher_view=image, the number of augmented views whose mean represents the image; "
        "below 2: the image itself, without augmentation",
        unit="views",
        bounds=(0, inf),
    )
    drawn_views: int = _option(
        0,
        "augmented views of each image that are drawn once and kept in teacher_cache with a frozen "
        "teacher's outputs for them; each epoch uses the next two. An even number; 16 gives 8 "
        "epochs of fresh views; 0: views are drawn at each step",
        unit="views",
        bounds=(0, inf),
    )
    teacher_cache: str | None = _option(
        None,
        "folder that keeps a frozen teacher's outputs for the training images, bags and drawn "
        "views, for the next run with this teacher and data; None: solo-rekd/teachers in "
        "$XDG_CACHE_HOME or ~/.cache",
        parse=str,
    )
    teacher_mean: str | tuple[float, ...] = _option(
        AUTO,
        "channel means in [0, 1], three or one for all, that normalise the teacher's images; auto: "
        "those its checkpoint was trained with, else the student's",
        parse=parse_colours,
        nargs="+",
    )
    teacher_std: str | tuple[float, ...] = _option(
        AUTO,
        "channel standard deviations that normalise the teacher's images, given as teacher_mean is",
        parse=parse_colours,
        nargs="+",
    )
    teacher_size: str | int = _option(
        AUTO,
        "side to which the teacher's views are resized; auto: the side of the student's views; "
        "native: the side that the checkpoint was trained at",
        unit="px",
        parse=parse_side,
        bounds=(1, inf),
    )
    teacher_precision: str = _option(
        AUTO,
        "precision of a frozen teacher's weights and arithmetic; its outputs are float32; auto: "
        "the run's precision, Lightning's --precision",
        choices=PRECISIONS,
    )
    teacher_temperature: float = _option(
        0.2, "temperature of the online teacher's InfoNCE", source=MOCO_V2, bounds=(1e-4, inf)
    )
    teacher_lr: float = _option(
        1.0,
        "learning rate of an online teacher, as a multiple of the student's",
        bounds=(0, 100),
    )
    teacher_frozen: float = _option(
        0.0,
        "share of the tensors of an online teacher's backbone that stay frozen, from the first "
        "layer on",
        bounds=(0, 1),
    )
    teacher_probe: str = _option(
        "on",
        "on: an online classifier on the teacher's features logs teacher_acc1, and no other "
        "network learns from it; off: no classifier, at no cost",
        choices=("on", "off"),
    )

    def __post_init__(self) -> None:
        for option in dataclasses.fields(self):
            value, choices = getattr(self, option.name), option.metadata["choices"]
            if choices and value not in choices:
                raise refuse(option.name, value, choices)
            kind = AUTO_KINDS.get(option.metadata["parse"])
            if kind and isinstance(value, str) and value != AUTO:
                raise refuse(option.name, value, kind)
            bounds = option.metadata["bounds"]
            if bounds and isinstance(value, int | float):
                refuse_beyond(option.name, value, *bounds)
        self._refuse_outside()
        is_given = self.teacher == MODULE
        if self.teacher_mode == "frozen" and self.teacher_checkpoint is None and not is_given:
            raise UserError(
                "teacher_mode='frozen' needs teacher_checkpoint=PATH (or use teacher_mode=online)"
            )
        if self.teacher_image_views > 1 and self.teacher_view != IMAGE:
            limit = "0 or 1 without teacher_view=image"
            raise refuse("teacher_image_views", self.teacher_image_views, limit)
        if self.teacher_view == IMAGE and self.teacher_mode != "frozen":
            raise UserError(
                "teacher_view='image' needs teacher_mode=frozen: an online teacher changes"
            )
        self._refuse_drawn()
        if self.mixup and self.teacher_mode != "frozen":
            raise refuse("mixup", self.mixup, "0 with teacher_mode=online, or teacher_mode=frozen")
        if self.mixup and self.reads_labels:
            raise refuse("mixup", self.mixup, f"0 with {self.reads_labels}: labels are not mixed")
        if self.teacher_precision != AUTO and self.teacher_mode != "frozen":
            limit = "auto with teacher_mode=online, which has the run's precision"
            raise refuse("teacher_precision", self.teacher_precision, limit)
        for name, usual in (("teacher_lr", 1), ("teacher_frozen", 0)):
            if getattr(self, name) != usual and self.teacher_mode != "online":
                limit = (
                    f"{usual} with teacher_mode={self.teacher_mode}: that teacher is not trained"
                )
                raise refuse(name, getattr(self, name), limit)
        for name in ("teacher_mean", "teacher_std"):
            _refuse_colours(name, getattr(self, name))
        if isinstance(self.teacher_size, str) and self.teacher_size not in (AUTO, NATIVE):
            raise refuse("teacher_size", self.teacher_size, "auto, native, or a whole number of px")
        if self.teacher_size == NATIVE and self.teacher_checkpoint is None:
            raise refuse("teacher_size", NATIVE, "auto or a number without teacher_checkpoint=PATH")

    def _refuse_drawn(self) -> None:
        """Refuses an odd number of `drawn_views`, and settings that make kept outputs wrong."""
        limit = ""
        if self.drawn_views % 2:
            limit = "0, or an even number: each epoch takes two"
        elif self.teacher_mode != "frozen":
            limit = "0 with teacher_mode=online, or teacher_mode=frozen: an online teacher changes"
        elif self.teacher_view == IMAGE:
            limit = f"0 with teacher_view={IMAGE}, whose teacher does not see the views"
        elif self.mixup:
            limit = "0 with mixup, whose teacher has to see the mixed images"
        if self.drawn_views and limit:
            raise refuse("drawn_views", self.drawn_views, limit)

    def _refuse_outside(self) -> None:
        """Refuses settings that do not work with a teacher that another library builds."""
        given = self.teacher_checkpoint is not None
        if self.teacher == MODULE and given:
            raise refuse(
                "teacher_checkpoint", self.teacher_checkpoint, f"none with teacher={MODULE}"
            )
        if self.teacher in (HUGGING_FACE, ONNX) and not given:
            raise UserError(f"teacher={self.teacher!r} needs teacher_checkpoint=PATH")
        if self.teacher == ONNX and self.teacher_mode != "frozen":
            limit = "frozen with teacher=onnx, which has no gradients"
            raise refuse("teacher_mode", self.teacher_mode, limit)
        if self.teacher == ONNX and self.teacher_precision not in (AUTO, "float32"):
            limit = "auto or float32 with teacher=onnx, whose program has its own types"
            raise refuse("teacher_precision", self.teacher_precision, limit)
        if self.teacher in (HUGGING_FACE, ONNX, MODULE) and self.teacher_stem != AUTO:
            raise refuse("teacher_stem", self.teacher_stem, f"auto with teacher={self.teacher}")

    @property
    def starts_pretrained(self) -> bool:
        """Whether the teacher starts from pretrained weights."""
        return self.teacher_mode == "frozen" or self.teacher_checkpoint is not None

    @property
    def reads_momentum(self) -> bool:
        """Whether the loss needs the student's momentum twin; if not, none is built."""
        return True

    @property
    def reads_labels(self) -> str:
        """The setting that makes the loss read labels, as NAME=VALUE; empty: it reads none."""
        return ""

    def settled(self, epochs: int, queue: int | None = None) -> "Self":
        """Returns the same settings with a number for every `auto`.

        Args:
            epochs: length of the training.
            queue: the value of an `auto` queue_size; None: the number of images is not known.

        Raises:
            UserError: the queue's length is neither given nor known.
        """
        size = queue if self.queue_size == AUTO else self.queue_size
        if size is None:
            raise refuse("queue_size", AUTO, "a number of keys outside the hosts' own runs")
        return dataclasses.replace(self, queue_size=size)

    def refuse_width(self, width: int, unless: str = "") -> None:
        """Raises a UserError where the embeddings of student and teacher differ in width.

        Args:
            width: width of the teacher's embeddings.
            unless: the alternative, for the message.

        Raises:
            UserError: the widths differ.
        """
        if width != self.proj_output_dim:
            limit = f"{width}, the teacher's embedding{unless}"
            raise refuse("proj_output_dim", self.proj_output_dim, limit)


@dataclass(frozen=True)
class RekdConfig(DistillationConfig):
    """Relation Knowledge Distillation, arXiv 2112.04174."""

    temperature: float = _option(
        AUTO,
        "student's softmax temperature; auto: 0.07 on the teacher's dictionary alone, else 0.2",
        parse=number_or_auto,
        bounds=(1e-4, inf),
    )
    relation_weight: float = _option(
        1.0,
        "share of the relation contrast; the rest is InfoNCE on the student's queue",
        bounds=(0, 1),
    )
    dictionary: str = _option(
        AUTO,
        "whose embeddings the relation contrast compares with; both: the mean of that on the "
        "student's and InfoNCE on the teacher's; auto: teacher for a pretrained teacher, both for "
        "one from scratch",
        choices=(AUTO, "student", "teacher", "both"),
    )
    teacher_view: str = _option(
        "same",
        "view whose teacher embedding is the query's own key in the teacher's dictionary: same, "
        "the view that the student sees; other, the other view; image: see teacher_view of the "
        "other methods",
        choices=("same", "other", IMAGE),
    )
    own_weight: str | float = _option(
        0.5,
        "target weight of the image's own key; uniform: 1/(1 + positives), as in supervised "
        "contrastive learning",
        parse=parse_own_weight,
        bounds=(0, 1),
    )
    relation: str = _option(
        AUTO,
        "what makes two images relatives: prototypes, the same prototype of the teacher; "
        "similarity, the teacher's similarity of each image to all, with relation_view=image; "
        "labels (not self-supervised) and random (num_prototypes fixed random groups) are "
        "controls; auto: similarity where it is allowed and no prototypes are asked for",
        choices=(AUTO, "prototypes", "similarity", "labels", "random"),
    )
    relation_view: str = _option(
        AUTO,
        "what the relation is mined from: views, the sum of each step's two views, by a bank that "
        "is updated at each step; image, the whole training images, before the training or, with "
        "an online teacher, again every relation_refresh epochs; auto: image with a pretrained "
        "teacher, else views",
        choices=(AUTO, "views", IMAGE),
    )
    relation_temperature: float = _option(
        0.05, "softmax temperature of relation=similarity", bounds=(1e-4, inf)
    )
    relation_refresh: int = _option(
        1,
        "epochs after which relation_view=image is mined again with an online teacher",
        unit="epochs",
        bounds=(1, inf),
    )
    relation_schedule: str = _option(
        "constant",
        "target weight of the relatives over the training: constant, or falling to 0 along half a "
        "cosine",
        choices=("constant", "falling"),
    )
    assignment_temperature: float = _option(
        0.0,
        "softmax temperature of a query's assignment to the prototypes; 0: only the nearest",
        bounds=(0, inf),
    )
    num_prototypes: int = _option(
        AUTO,
        "size of the prototype bank; auto: 100, but at most a quarter of the queue, or with "
        "relation_view=image one per 30 images",
        unit="prototypes",
        parse=whole_or_auto,
        bounds=(1, inf),
    )
    prototype_levels: int = _option(
        1,
        "with relation_view=image, number of banks, each with three times the prototypes of the "
        "one before; an image's relatives are averaged over the banks",
        unit="banks",
        bounds=(1, 5),
    )
    prototype_momentum: float = _option(
        0.9, "momentum of a prototype towards its members' mean", bounds=(0, 1)
    )
    teacher_warmup_epochs: int = _option(
        AUTO,
        "epochs before the relations of a teacher from scratch count; until then the student "
        "learns by InfoNCE; a teacher from a checkpoint counts as pretrained; auto: a tenth of "
        "the training, at most 10",
        unit="epochs",
        parse=whole_or_auto,
        bounds=(0, inf),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.own_weight, str) and self.own_weight != "uniform":
            raise refuse("own_weight", self.own_weight, "a number from 0 to 1, or uniform")
        if self.assignment_temperature and self.meant["relation"] != "prototypes":
            limit = f"0 with relation={self.meant['relation']}"
            raise refuse("assignment_temperature", self.assignment_temperature, limit)
        self._refuse_relation()
        size, number = self.queue_size, self.num_prototypes
        if AUTO not in (size, number) and number > size and not self.of_images:
            raise refuse("num_prototypes", number, f"at most queue_size={size}, or auto")

    @property
    def meant(self) -> dict[str, Any]:
        """The settings whose `auto` follows from other settings, with their values."""
        dictionary, view, temperature = self.dictionary, self.relation_view, self.temperature
        if dictionary == AUTO:
            dictionary = "teacher" if self.starts_pretrained else "both"
        if view == AUTO:
            by_views = self.own_weight == "uniform" or self.assignment_temperature
            view = IMAGE if self.starts_pretrained and not by_views else "views"
        if temperature == AUTO:
            temperature = 0.07 if dictionary == "teacher" else DistillationConfig.temperature
        relation, banks = self.relation, (self.num_prototypes, self.prototype_levels)
        if relation == AUTO:
            similar = view == IMAGE and dictionary == "teacher" and banks == (AUTO, 1)
            relation = "similarity" if similar else "prototypes"
        return {
            "dictionary": dictionary,
            "relation_view": view,
            "temperature": temperature,
            "relation": relation,
        }

    @property
    def of_images(self) -> bool:
        """Whether the relation is mined from the whole images of the training set."""
        return self.meant["relation_view"] == IMAGE

    def _refuse_relation(self) -> None:
        """Refuses settings of the relation that contradict each other."""
        if self.of_images:
            if self.own_weight == "uniform":
                raise refuse("own_weight", "uniform", "a number with relation_view=image")
            if self.assignment_temperature:
                limit = "0 with relation_view=image"
                raise refuse("assignment_temperature", self.assignment_temperature, limit)
        elif self.relation == "similarity":
            raise refuse("relation", self.relation, "one of the others without relation_view=image")
        elif self.prototype_levels > 1:
            limit = "1 without relation_view=image"
            raise refuse("prototype_levels", self.prototype_levels, limit)
        dictionary = self.meant["dictionary"]
        if self.relation == "similarity" and dictionary != "teacher":
            limit = "teacher with relation=similarity: in the student's, relatives share a group"
            raise refuse("dictionary", dictionary, limit)

    def settled(self, epochs: int, queue: int | None = None) -> "Self":
        """Also settles the bank by the queue's length, and the warm-up by the training's.

        A bank of whole images depends on their number, which is known only in training.
        """
        config = dataclasses.replace(super().settled(epochs, queue), **self.meant)
        meant: dict[str, Any] = {"teacher_warmup_epochs": lengths.warmup_epochs(epochs)}
        if not self.of_images:
            meant["num_prototypes"] = lengths.num_prototypes(config.queue_size)
        changes = {k: v for k, v in meant.items() if getattr(self, k) == AUTO}
        return dataclasses.replace(config, **changes)

    @property
    def reads_momentum(self) -> bool:
        """Whether the loss needs the student's momentum twin; the settings have to be settled."""
        warm = self.starts_pretrained or self.teacher_warmup_epochs == 0
        return not (self.dictionary == "teacher" and self.relation_weight == 1 and warm)

    @property
    def reads_labels(self) -> str:
        """See `DistillationConfig`."""
        return "relation=labels" if self.relation == "labels" else ""

    def refuse_width(self, width: int, unless: str = ", or dictionary=student") -> None:
        """Accepts any width with the student's dictionary, which holds no teacher embeddings."""
        if self.dictionary != "student":
            super().refuse_width(width, unless)


@dataclass(frozen=True)
class DiscoConfig(DistillationConfig):
    """Distilled Contrastive Learning, arXiv 2104.09124."""

    consistency_weight: float = _option(
        32.0,
        "weight of the squared distance to the teacher's embedding, averaged over the images; the "
        "paper's code sums over the 32 images of a GPU",
        source=f"the code of {DISCO}",
        bounds=(0, inf),
    )


@dataclass(frozen=True)
class SeedConfig(DistillationConfig):
    """Self-supervised Distillation, arXiv 2101.04731."""

    target_temperature: float = _option(
        0.01,
        "temperature of the teacher's softmax, which is the target",
        source=SEED,
        bounds=(1e-4, inf),
    )
    queue_first: str = _option(
        "off",
        "on: the batch's teacher embeddings enter the queue before the loss, so that it holds each "
        "image's own; off: they enter after it, and an image's own is an entry beside the queue",
        choices=("on", "off"),
    )

    @property
    def reads_momentum(self) -> bool:
        """No: both dictionaries are the teacher's."""
        return False


@dataclass(frozen=True)
class CompressConfig(DistillationConfig):
    """CompRess, Compressing Representations, arXiv 2010.14713."""

    KEYS_PER_IMAGE: ClassVar[int] = 2  # one for each view

    temperature: float = _option(
        0.04, "student's softmax temperature", source=COMPRESS, bounds=(1e-4, inf)
    )
    queue_size: int = _option(
        AUTO,
        "length of the memory, which both views share, and of an online teacher's queues; auto: "
        "twice that of the other methods (docs/queue.md)",
        unit="keys",
        parse=whole_or_auto,
        bounds=(1, inf),
    )
    projector: str = _option(
        MLP,
        "projector of an online teacher; the student has none, except for the linear layer of 1q",
        choices=(MLP,),
    )
    variant: str = _option(
        "2q",
        "2q: student and teacher have one memory each; 1q: the student, after a linear layer, is "
        "compared with the teacher's memory",
        source=COMPRESS,
        choices=("1q", "2q"),
    )
    target_temperature: float = _option(
        0.04,
        "temperature of the teacher's softmax, which is the target",
        source=COMPRESS,
        bounds=(1e-4, inf),
    )

    @property
    def reads_momentum(self) -> bool:
        """Yes with 2q; with 1q the only memory is the teacher's."""
        return self.variant == "2q"

    def refuse_width(self, width: int, unless: str = "") -> None:
        """Accepts any width: each network is compared in the space of its own features."""


@dataclass(frozen=True)
class CrcdConfig(DistillationConfig):
    """Complementary Relation Contrastive Distillation, arXiv 2103.16367."""

    relation_weight: float = _option(
        1.0, "weight of the relation contrast, in both directions", source=CRCD, bounds=(0, inf)
    )
    relation_temperature: float = _option(
        0.05, "temperature of the relation contrast", source=CRCD, bounds=(1e-4, inf)
    )
    relation_negatives: int = _option(
        4096,
        "the relation contrast compares with at most this many of the queue's newest entries; its "
        "time is proportional to this and to the square of the batch size",
        unit="keys",
        bounds=(1, inf),
    )
    gradient_weight: float = _option(
        10.0,
        "weight of 1 - cosine between the gradients of student and teacher",
        source=CRCD,
        bounds=(0, inf),
    )
    gradient_task: str = _option(
        "contrastive",
        "whose gradients are compared: each network's InfoNCE, or the cross-entropy of a linear "
        "classifier, through which labels reach the student",
        choices=("contrastive", "labels"),
    )
    finetune_share: float = _option(
        0.04,
        "share of the training, its last whole epochs, that uses InfoNCE alone",
        source=CRCD,
        bounds=(0, 1),
    )

    @property
    def reads_labels(self) -> str:
        """See `DistillationConfig`."""
        return "gradient_task=labels" if self.gradient_task == "labels" else ""


@dataclass(frozen=True)
class BingoConfig(DistillationConfig):
    """Bag of Instances Aggregation, arXiv 2107.01691."""

    teacher_mode: str = _option(
        "frozen",
        "frozen only, read from --teacher_checkpoint: the bags are found once, before the training",
        source=BINGO,
    )
    bag_size: int = _option(
        5,
        "training images in a bag: those most similar to an image by the teacher's features",
        source=f"the code of {BINGO}",
        unit="images",
        bounds=(1, inf),
    )

    def __post_init__(self) -> None:
        if self.teacher_mode != "frozen":
            reason = "frozen: the bags are found once, so the teacher must not change"
            raise refuse("teacher_mode", self.teacher_mode, reason)
        if self.teacher_checkpoint is None and self.teacher != MODULE:
            raise UserError("bingo needs teacher_checkpoint=PATH: its teacher is always frozen")
        super().__post_init__()

    @property
    def reads_momentum(self) -> bool:
        """No: the queue is the teacher's."""
        return False


@dataclass(frozen=True)
class SimregConfig(DistillationConfig):
    """SimReg, regression on the teacher's features, arXiv 2201.05131."""

    @property
    def reads_momentum(self) -> bool:
        """No: the target is the teacher's."""
        return False

    def refuse_width(self, width: int, unless: str = "") -> None:
        """Accepts any width: the student's head has the width of the teacher's features."""


@dataclass(frozen=True)
class CossConfig(DistillationConfig):
    """CoSS, Cosine and Space Similarity, arXiv 2409.13939."""

    teacher_mode: str = _option(
        "frozen",
        "frozen: read from --teacher_checkpoint; online: jointly trained with its own InfoNCE, "
        "only with neighbours=0, because neighbours are found once",
        source=COSS,
        choices=("online", "frozen"),
    )
    space_weight: float = _option(
        1.0,
        "weight of the cosine of each dimension over the batch",
        source=COSS,
        bounds=(0, inf),
    )
    loss_weight: float = _option(
        1.0,
        "weight of the whole loss; the paper's code, which divides the student's unit vectors by "
        "0.1 and the teacher's by 0.07, amounts to 143",
        source="arXiv 2409.13939",
        bounds=(0, inf),
    )
    neighbours: int = _option(
        15,
        "images that each batch draws from the nearest neighbours of an anchor, fewer in a smaller "
        "batch; 0: random batches",
        source=COSS,
        unit="images",
        bounds=(0, inf),
    )
    neighbour_pool: int = _option(
        31,
        "nearest neighbours of an image, by the teacher's features, from which `neighbours` are "
        "drawn",
        source=COSS,
        unit="images",
        bounds=(1, inf),
    )

    def __post_init__(self) -> None:
        if self.neighbours and self.teacher_mode == "online":
            reason = (
                "frozen, or online with neighbours=0: neighbours are found once, by the teacher"
            )
            raise refuse("teacher_mode", self.teacher_mode, reason)
        super().__post_init__()
        if self.neighbours > self.neighbour_pool:
            limit = f"at most neighbour_pool={self.neighbour_pool}"
            raise refuse("neighbours", self.neighbours, limit)

    @property
    def reads_momentum(self) -> bool:
        """No: the target is the teacher's."""
        return False

    def refuse_width(self, width: int, unless: str = "") -> None:
        """Accepts any width: the student's head has the width of the teacher's features."""


# the settings of every objective in `solo_rekd.objectives`, by name, readable without torch
CONFIGS: dict[str, type[DistillationConfig]] = {
    "rekd": RekdConfig,
    "disco": DiscoConfig,
    "seed": SeedConfig,
    "compress": CompressConfig,
    "crcd": CrcdConfig,
    "bingo": BingoConfig,
    "simreg": SimregConfig,
    "coss": CossConfig,
}


# named bundles of a method's settings; a setting that is given wins
PRESETS: dict[str, dict[str, dict[str, str | float]]] = {
    "seed": {
        "lightly": {  # as lightly-train's first version distils
            "teacher_mode": "frozen",
            "temperature": 0.07,
            "target_temperature": 0.07,
            "mixup": 1.0,
            "projector": LINEAR,
            "queue_first": "on",
        },
    },
    "rekd": {"no-relation": {"own_weight": 1.0}},  # the control
}
PRESET_NAMES = tuple(f"{method}:{name}" for method, named in PRESETS.items() for name in named)


def preset(method: str, name: str | None, key: str = "preset") -> dict[str, str | float]:
    """The settings of a preset; none where no preset is asked for.

    Args:
        method: name of the method, ours or a host's.
        name: name of the preset.
        key: name of the setting, for the message.

    Raises:
        UserError: the method has no preset of that name.
    """
    if name is None:
        return {}
    known = PRESETS.get(method, {})
    if name not in known:
        raise refuse(key, name, nearest_first(name, [*known]) or f"none: {method} has no preset")
    return {**known[name]}


def add_speed_flags(add: Callable[..., argparse.Action], *, compiles: bool = True) -> None:
    """Adds the flags that change a run's speed and, beyond rounding, nothing else.

    Args:
        add: the method `add_argument` of a parser or of a group.
        compiles: whether to add `--compile` too.
    """
    add(
        "--memory_format",
        choices=MEMORY_FORMATS,
        default=AUTO,
        help=f"{MEMORY_FORMAT} (docs/speed.md). Default: %(default)s",
    )
    if compiles:
        add("--compile", action="store_true", help=f"{COMPILE}. Default: no")


def add_flags(
    parser: argparse.ArgumentParser, config: type[DistillationConfig], title: str
) -> None:
    """Adds one flag per setting to `parser`, in groups, each with its unit, default and source."""
    doc = (config.__doc__ or "").strip()
    shared = {option.name for option in dataclasses.fields(DistillationConfig)}
    own_group = parser.add_argument_group(title, doc)
    shared_group = parser.add_argument_group(f"{title}: teacher, projector and queue")
    for option in dataclasses.fields(config):
        meta = option.metadata
        unit = f" [{meta['unit']}]" if meta["unit"] else ""
        (shared_group if option.name in shared else own_group).add_argument(
            f"--{option.name}",
            # where a setting takes several words, `from_settings` reads them together
            type=str if meta["nargs"] else meta["parse"],
            nargs=meta["nargs"],
            default=option.default,
            choices=meta["choices"],
            help=f"{meta['help']}{unit}. Default: %(default)s ({meta['source']}).",
        )


def from_settings(
    config: type[DistillationConfig], settings: Mapping[str, Any]
) -> DistillationConfig:
    """Builds `config` from the entries of `settings` that are its fields; ignores the others.

    Raises:
        UserError: a value is not of its field's type, or not allowed there.
    """
    options = {option.name: option for option in dataclasses.fields(config)}
    return config(
        **{
            name: _of_type(options[name], value)
            for name, value in settings.items()
            if name in options
        }
    )


def refuse_unknown(
    config: type[DistillationConfig], settings: Mapping[str, Any], of: str = "method_kwargs."
) -> None:
    """Raises a UserError for an entry of `settings` that is not a field of `config`.

    Args:
        config: class of the method's settings.
        settings: settings as given.
        of: prefix of a setting's name as the user writes it.
    """
    names = [option.name for option in dataclasses.fields(config)]
    for name, value in settings.items():
        if name not in names:
            raise refuse(f"{of}{name}", value, nearest_first(name, names))


def _refuse_colours(name: str, value: str | tuple[float, ...]) -> None:
    """Raises a UserError for anything but `auto` or three numbers; a deviation may not be 0."""
    lowest = 1e-4 if name == "teacher_std" else 0
    known = not isinstance(value, str) and len(value) == 3
    if value != AUTO and not (known and all(lowest <= number <= 1 for number in value)):  # type: ignore[operator]
        raise refuse(name, value, f"auto, or three numbers from {lowest:g} to 1")


def _of_type(option: dataclasses.Field, value: Any) -> Any:
    """Reads a value from a file as its flag would read it, so 1 will do for 1.0."""
    if value is None and option.default is None:
        return None
    parse = option.metadata["parse"]
    try:
        return parse(str(value))
    except ValueError as error:
        kinds: dict[Any, str] = {int: "a whole number", float: "a number", **AUTO_KINDS}
        raise refuse(option.name, value, kinds[parse]) from error
