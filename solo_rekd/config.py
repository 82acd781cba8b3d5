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
# of a ResNet that others changed for small images: kernel, stride, padding, whether it pools
RESNET_STEMS = {
    "3x3": (3, 1, 1, False),
    "3x3-pool": (3, 1, 1, True),
    "3x3-stride2": (3, 2, 1, False),
    "3x3-stride2-pool": (3, 2, 1, True),
    "7x7-nopool": (7, 2, 3, False),
}
TEACHER_STEMS = (*STEMS, *RESNET_STEMS)
# teachers that no name of a backbone stands for: see `checkpoints.outside`, `teachers.from_module`
HUGGING_FACE, ONNX, MODULE = "huggingface", "onnx", "module"
# how a teacher sees images, where nothing else is asked for
SIGHT = {"teacher_mean": AUTO, "teacher_std": AUTO, "teacher_size": AUTO}
IMAGE = "image"  # a `teacher_view`
# what a run had whose record is older than these settings
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
    "a ResNet's first layers are as the file has them"
)

# settings of every run, whatever its method
CHANNELS_LAST, CONTIGUOUS = "channels_last", "contiguous"
MEMORY_FORMATS = (AUTO, CHANNELS_LAST, CONTIGUOUS)
MEMORY_FORMAT = "how images and weights lie in memory; auto: as is faster for each network"
COMPILE = "let torch.compile translate student and teacher, which takes minutes at the start"
PRECISIONS = (AUTO, "float32", "bfloat16", "float16")  # of a frozen teacher

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
    """A dataclass field whose metadata holds what a flag needs."""
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
    """Reads `own_weight`: a number, or a word, which the configuration judges."""
    try:
        return float(text)
    except ValueError:
        return text


def whole_or_auto(text: str) -> str | int:
    """Reads a whole number, or the word that stands for the one that follows from the run."""
    return AUTO if text == AUTO else int(text)


whole_or_auto.__name__ = "whole number or auto"  # which argparse names


def number_or_auto(text: str) -> str | float:
    """Reads a number, or the word that stands for the one that follows from other settings."""
    return AUTO if text == AUTO else float(text)


number_or_auto.__name__ = "number or auto"
AUTO_KINDS = {whole_or_auto: "a whole number, or auto", number_or_auto: "a number, or auto"}


def parse_colours(text: str) -> str | tuple[float, ...]:
    """Reads a number per colour, or one for all three; the configuration judges any other text."""
    words = re.sub(r"[\[\](),/'\"]", " ", text).split()
    try:
        numbers = tuple(map(float, words))
    except ValueError:
        return " ".join(words)
    return numbers * 3 if len(numbers) == 1 else numbers


def parse_side(text: str) -> str | int:
    """Reads `teacher_size`: a whole number, or a word, which the configuration judges."""
    try:
        return int(text)
    except ValueError:
        return text


@dataclass(frozen=True)
class DistillationConfig:
    """What every objective with a teacher and a queue shares.

    A setting whose default is `auto` is a number in a run: see `settled`.
    """

    KEYS_PER_IMAGE: ClassVar[int] = 1  # entries that an image adds to the queue in an epoch

    proj_hidden_dim: int = _option(
        2048, "hidden width of the projectors of two layers", source=DISCO, bounds=(1, inf)
    )
    proj_output_dim: int = _option(
        128, "dimensions of the embeddings", source=MOCO_V2, bounds=(1, inf)
    )
    projector: str = _option(
        MLP,
        "the student's head: mlp, two layers with a ReLU between; linear, one layer. A new "
        "projector of a teacher has two",
        source=MOCO_V2,
        choices=(MLP, LINEAR),
    )
    temperature: float = _option(
        0.2, "student's softmax temperature", source=MOCO_V2, bounds=(1e-4, inf)
    )
    queue_size: int = _option(
        AUTO,
        "length of each view's queue; auto: by the number of images, from 16 for up to 50 to "
        "65536 from a million, but filled within a tenth of the training (docs/queue.md)",
        unit="keys",
        parse=whole_or_auto,
        bounds=(1, inf),
    )
    mixup: float = _option(
        0.0,
        "alpha of the Beta(alpha, alpha) of which each batch draws the share of an image in a mix "
        "of two, which student and frozen teacher see alike; 1: uniform; 0: no mixing",
        source=MIXUP,
        bounds=(0, 1000),
    )
    teacher: str = _option(
        "resnet50",
        "backbone of the teacher (`solo-rekd list`), or what another library builds: huggingface, "
        "onnx, or a module from Python",
        source=REKD,
    )
    teacher_mode: str = _option(
        "online",
        "online: jointly trained by its own InfoNCE; frozen: read from --teacher_checkpoint",
        source=REKD,
        choices=("online", "frozen"),
    )
    teacher_checkpoint: str | None = _option(
        None, "weights of the teacher, in any format of `solo-rekd list`", parse=str
    )
    teacher_stem: str = _option(
        "auto",
        "first layers of the teacher: auto is as its checkpoint was trained, or for a teacher from "
        "scratch small for inputs of 64 px or less; of a ResNet also its first convolution with "
        "what no key shows of it",
        choices=TEACHER_STEMS,
    )
    teacher_view: str = _option(
        "views",
        "what the teacher sees: views, those of the student; image, for a frozen one: the image, "
        "once before the training, kept in teacher_cache",
        choices=("views", IMAGE),
    )
    teacher_image_views: int = _option(
        0,
        "with teacher_view=image, the augmented views whose mean stands for the image; below 2: "
        "the image itself, without augmentation",
        unit="views",
        bounds=(0, inf),
    )
    drawn_views: int = _option(
        0,
        "augmented views of each image that are drawn once and kept in teacher_cache with what a "
        "frozen teacher says of them; each epoch takes the next two. An even number, 16 for up to "
        "8 epochs of fresh views; 0: views are drawn at each step",
        unit="views",
        bounds=(0, inf),
    )
    teacher_cache: str | None = _option(
        None,
        "folder that keeps what a frozen teacher says of the training images, bags and drawn "
        "views, for the next run with this teacher and data; None: solo-rekd/teachers in "
        "$XDG_CACHE_HOME or ~/.cache",
        parse=str,
    )
    teacher_mean: str | tuple[float, ...] = _option(
        AUTO,
        "means in [0, 1], of the three colours or one for all, that the teacher's images are "
        "normalised by; auto: those that its checkpoint was trained with, else the student's",
        parse=parse_colours,
        nargs="+",
    )
    teacher_std: str | tuple[float, ...] = _option(
        AUTO, "their standard deviations, likewise", parse=parse_colours, nargs="+"
    )
    teacher_size: str | int = _option(
        AUTO,
        "side to which the teacher's views are resized; auto: that of the student's views; "
        "native: that which the checkpoint was trained at",
        unit="px",
        parse=parse_side,
        bounds=(1, inf),
    )
    teacher_precision: str = _option(
        AUTO,
        "of a frozen teacher's weights and arithmetic; its outputs are float32; auto: that of the "
        "run, as Lightning's --precision has it",
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
        "share of the tensors of an online teacher's backbone, its first layers, that stay as they "
        "are",
        bounds=(0, 1),
    )
    teacher_probe: str = _option(
        "on",
        "an online classifier on the teacher's features, which no other network learns from: "
        "teacher_acc1 in the log; off: none, at no cost",
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
            limit = "auto with teacher_mode=online, whose precision is that of the run"
            raise refuse("teacher_precision", self.teacher_precision, limit)
        for name, usual in (("teacher_lr", 1), ("teacher_frozen", 0)):
            if getattr(self, name) != usual and self.teacher_mode != "online":
                limit = (
                    f"{usual} with teacher_mode={self.teacher_mode}, whose teacher learns nothing"
                )
                raise refuse(name, getattr(self, name), limit)
        for name in ("teacher_mean", "teacher_std"):
            _refuse_colours(name, getattr(self, name))
        if isinstance(self.teacher_size, str) and self.teacher_size not in (AUTO, NATIVE):
            raise refuse("teacher_size", self.teacher_size, "auto, native, or a whole number of px")
        if self.teacher_size == NATIVE and self.teacher_checkpoint is None:
            raise refuse("teacher_size", NATIVE, "auto or a number without teacher_checkpoint=PATH")

    def _refuse_drawn(self) -> None:
        """Refuses `drawn_views` that are no pairs, or of which the teacher would say another."""
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
        """Refuses what a teacher that another library builds cannot be."""
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
        """Whether the teacher's weights are those of a training before this one."""
        return self.teacher_mode == "frozen" or self.teacher_checkpoint is not None

    @property
    def reads_momentum(self) -> bool:
        """Whether the loss has keys of the student's momentum twin: without, there is none."""
        return True

    @property
    def reads_labels(self) -> str:
        """The setting by which the loss reads labels, as NAME=VALUE; empty: it reads none."""
        return ""

    def settled(self, epochs: int, queue: int | None = None) -> "Self":
        """Returns the same settings with a number for every `auto`.

        Args:
            epochs: of the training.
            queue: what `auto` means for `queue_size`; None: the training images are not counted.

        Raises:
            UserError: the queue's length is neither given nor known.
        """
        size = queue if self.queue_size == AUTO else self.queue_size
        if size is None:
            raise refuse("queue_size", AUTO, "a number of keys outside the hosts' own runs")
        return dataclasses.replace(self, queue_size=size)

    def refuse_width(self, width: int, unless: str = "") -> None:
        """Sees to it that student and teacher can be compared: their embeddings have one width.

        Args:
            width: of the teacher's embeddings.
            unless: what would do instead, for the message.

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
        "whose embeddings the relation contrast compares with; with both, the teacher's have no "
        "relation; auto: the teacher's of a pretrained one, both of one from scratch",
        choices=(AUTO, "student", "teacher", "both"),
    )
    teacher_view: str = _option(
        "same",
        "which view's embedding by the teacher is the query's own key in the teacher's dictionary: "
        "that of the view which the student sees too, or of the other; image: see teacher_view of "
        "the other methods",
        choices=("same", "other", IMAGE),
    )
    own_weight: str | float = _option(
        0.5,
        "target weight of the image's own key; uniform: 1/(1 + positives), as supervised contrast",
        parse=parse_own_weight,
        bounds=(0, 1),
    )
    relation: str = _option(
        AUTO,
        "what makes two images relatives: the prototype of the teacher; similarity to the teacher, "
        "of all images to all, with relation_view=image; labels and random, a fixed group of "
        "num_prototypes by chance, are controls, the first no self-supervision; auto: similarity "
        "where it is allowed and no prototypes are asked for",
        choices=(AUTO, "prototypes", "similarity", "labels", "random"),
    )
    relation_view: str = _option(
        AUTO,
        "what the relation is mined from: views, the sum of a step's two, by a bank that follows "
        "them; image: the whole images of the training set, before the training or, with an online "
        "teacher, again every relation_refresh epochs; auto: image with a pretrained teacher",
        choices=(AUTO, "views", IMAGE),
    )
    relation_temperature: float = _option(
        0.05, "softmax temperature of relation=similarity", bounds=(1e-4, inf)
    )
    relation_refresh: int = _option(
        1,
        "epochs after which an online teacher's relation_view=image is mined anew",
        unit="epochs",
        bounds=(1, inf),
    )
    relation_schedule: str = _option(
        "constant",
        "of the target weight of the relatives over the training: constant, or falling to 0 by a "
        "half cosine",
        choices=("constant", "falling"),
    )
    assignment_temperature: float = _option(
        0.0,
        "softmax temperature of a query's assignment to the prototypes; 0: the nearest alone",
        bounds=(0, inf),
    )
    num_prototypes: int = _option(
        AUTO,
        "size of the prototype bank; auto: 100, but at most a quarter of the queue; with "
        "relation_view=image one for 30 images",
        unit="prototypes",
        parse=whole_or_auto,
        bounds=(1, inf),
    )
    prototype_levels: int = _option(
        1,
        "with relation_view=image, banks at once, each with three times the prototypes of the one "
        "before; the relatives of an image are those in all of them",
        unit="banks",
        bounds=(1, 5),
    )
    prototype_momentum: float = _option(
        0.9, "momentum of a prototype towards its members' mean", bounds=(0, 1)
    )
    teacher_warmup_epochs: int = _option(
        AUTO,
        "a teacher from scratch trains alone so long before its relations count, the student by "
        "InfoNCE; one from a checkpoint is taken to be pretrained; auto: a tenth of the training, "
        "at most 10",
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
        """What `auto` means where it follows from other settings; the others as they are."""
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
        """Refuses settings of the relation that have no meaning together."""
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
        """See `DistillationConfig`; the bank follows the queue, and the warm-up the training.

        A bank of the whole images follows their number, which the training alone knows.
        """
        config = dataclasses.replace(super().settled(epochs, queue), **self.meant)
        meant: dict[str, Any] = {"teacher_warmup_epochs": lengths.warmup_epochs(epochs)}
        if not self.of_images:
            meant["num_prototypes"] = lengths.num_prototypes(config.queue_size)
        changes = {k: v for k, v in meant.items() if getattr(self, k) == AUTO}
        return dataclasses.replace(config, **changes)

    @property
    def reads_momentum(self) -> bool:
        """See `DistillationConfig`; of settled settings."""
        warm = self.starts_pretrained or self.teacher_warmup_epochs == 0
        return not (self.dictionary == "teacher" and self.relation_weight == 1 and warm)

    @property
    def reads_labels(self) -> str:
        """See `DistillationConfig`."""
        return "relation=labels" if self.relation == "labels" else ""

    def refuse_width(self, width: int, unless: str = ", or dictionary=student") -> None:
        """See `DistillationConfig`; the student's dictionary alone holds none of the teacher's."""
        if self.dictionary != "student":
            super().refuse_width(width, unless)


@dataclass(frozen=True)
class DiscoConfig(DistillationConfig):
    """Distilled Contrastive Learning, arXiv 2104.09124."""

    consistency_weight: float = _option(
        32.0,
        "weight of the squared distance to the teacher's embedding, a mean over the images; the "
        "paper's code sums over the 32 of a GPU",
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
        "on: the batch's teacher embeddings enter the queue before the loss, which finds an "
        "image's own among them; off: after it, and an image's own is an entry beside the queue",
        choices=("on", "off"),
    )

    @property
    def reads_momentum(self) -> bool:
        """See `DistillationConfig`; both dictionaries are the teacher's."""
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
        "by the number of images, twice that of the other methods (docs/queue.md)",
        unit="keys",
        parse=whole_or_auto,
        bounds=(1, inf),
    )
    projector: str = _option(
        MLP,
        "of an online teacher alone: the student has no head, but for the linear layer of 1q",
        choices=(MLP,),
    )
    variant: str = _option(
        "2q",
        "2q: student and teacher have a memory each; 1q: the student is compared with the "
        "teacher's, after a linear layer of its own",
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
        """See `DistillationConfig`; with 1q the one memory is the teacher's."""
        return self.variant == "2q"

    def refuse_width(self, width: int, unless: str = "") -> None:
        """Refuses none: each network is compared in the space of its own features."""


@dataclass(frozen=True)
class CrcdConfig(DistillationConfig):
    """Complementary Relation Contrastive Distillation, arXiv 2103.16367."""

    relation_weight: float = _option(
        1.0, "weight of the relation contrast, both ways", source=CRCD, bounds=(0, inf)
    )
    relation_temperature: float = _option(
        0.05, "temperature of the relation contrast", source=CRCD, bounds=(1e-4, inf)
    )
    relation_negatives: int = _option(
        4096,
        "newest entries of the queue, at most, that the relation contrast compares with; its time "
        "is in proportion to this and to the square of the batch size",
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
        "classifier, by which the labels reach the student",
        choices=("contrastive", "labels"),
    )
    finetune_share: float = _option(
        0.04,
        "share of the training, its last whole epochs, that is by InfoNCE alone",
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
        "training images most alike to an image, as the teacher sees them",
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
        """See `DistillationConfig`; the queue is the teacher's."""
        return False


@dataclass(frozen=True)
class SimregConfig(DistillationConfig):
    """SimReg, regression on the teacher's features, arXiv 2201.05131."""

    @property
    def reads_momentum(self) -> bool:
        """See `DistillationConfig`; the target is the teacher's."""
        return False

    def refuse_width(self, width: int, unless: str = "") -> None:
        """Refuses none: the student's head has the width of the teacher's features."""


@dataclass(frozen=True)
class CossConfig(DistillationConfig):
    """CoSS, Cosine and Space Similarity, arXiv 2409.13939."""

    teacher_mode: str = _option(
        "frozen",
        "frozen: read from --teacher_checkpoint; online: jointly trained by its own InfoNCE, with "
        "neighbours=0 alone, for neighbours are found once",
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
        "0.1 and the teacher's by 0.07, has 143",
        source="arXiv 2409.13939",
        bounds=(0, inf),
    )
    neighbours: int = _option(
        15,
        "images in a batch that are drawn from the nearest neighbours of an anchor, of a smaller "
        "batch fewer; 0: batches by chance",
        source=COSS,
        unit="images",
        bounds=(0, inf),
    )
    neighbour_pool: int = _option(
        31,
        "nearest neighbours of an image, as the teacher sees them, from which they are drawn",
        source=COSS,
        unit="images",
        bounds=(1, inf),
    )

    def __post_init__(self) -> None:
        if self.neighbours and self.teacher_mode == "online":
            reason = "frozen, or online with neighbours=0: they are found once, by the teacher"
            raise refuse("teacher_mode", self.teacher_mode, reason)
        super().__post_init__()
        if self.neighbours > self.neighbour_pool:
            limit = f"at most neighbour_pool={self.neighbour_pool}"
            raise refuse("neighbours", self.neighbours, limit)

    @property
    def reads_momentum(self) -> bool:
        """See `DistillationConfig`; the target is the teacher's."""
        return False

    def refuse_width(self, width: int, unless: str = "") -> None:
        """Refuses none: the student's head has the width of the teacher's features."""


# of every objective in `solo_rekd.objectives`, by its name, to be read without torch
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
        method: of the run, ours or a host's.
        name: of the preset.
        key: that the user gave it by, for the message.

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
    """Adds the flags that decide how fast a run is and, beyond rounding, nothing else of it.

    Args:
        add: the method `add_argument` of a parser or of a group.
        compiles: whether there is `--compile` too.
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
    """Adds one flag a setting to `parser`, in groups, each with unit, default and its source."""
    doc = (config.__doc__ or "").strip()
    shared = {option.name for option in dataclasses.fields(DistillationConfig)}
    own_group = parser.add_argument_group(title, doc)
    shared_group = parser.add_argument_group(f"{title}: teacher, projector and queue")
    for option in dataclasses.fields(config):
        meta = option.metadata
        unit = f" [{meta['unit']}]" if meta["unit"] else ""
        (shared_group if option.name in shared else own_group).add_argument(
            f"--{option.name}",
            # the words of a setting that takes several are read together, by `from_settings`
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
        config: of the method.
        settings: as they were given.
        of: stands before a setting's name where the user writes it.
    """
    names = [option.name for option in dataclasses.fields(config)]
    for name, value in settings.items():
        if name not in names:
            raise refuse(f"{of}{name}", value, nearest_first(name, names))


def _refuse_colours(name: str, value: str | tuple[float, ...]) -> None:
    """Raises a UserError for anything but `auto` or three numbers, of deviations none of them 0."""
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
