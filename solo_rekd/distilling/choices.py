"""What a distillation is run with: each setting with its value and the reason for it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from solo_rekd import lengths
from solo_rekd.config import AUTO
from solo_rekd.images.data_sets import LARGE_IMAGE, SMALL_IMAGE
from solo_rekd.lengths import Training, power_of_two
from solo_rekd.utils.errors import refuse

METHOD = "rekd"
WHY_METHOD = "the best of those measured with a frozen teacher (docs/benchmarks.md)"
# learning rates for a batch of 256, the best of sweeps by students (docs/benchmarks.md)
RATE, RATES = 0.03, {"mobilenet_v3": 0.1, "efficientnet": 0.1}
GRAIN = 32  # px: by which networks reduce an image, so that no map has a border of half a pixel
BATCHES = {"cpu": 64, "gpu": 256}  # images
SMALL_GPU = 16 * 2**30  # bytes of memory, below which a batch is half as large
STEPS = 10  # of an epoch, at least: a smaller batch makes more of them
SEEN = 2_000_000  # photos that all epochs see together, about
EPOCHS = (10, 200)  # at least, and at most
KEYS = 2**29  # bytes of the keys of a queue, at most
VIEWS = 16  # that are drawn once: 8 epochs without one that repeats (docs/teachers.md)
DRAWN = 2**32  # bytes of their pixels, at most
WORKERS = {"cpu": 4, "gpu": 16}  # at most


class Facts(NamedTuple):
    """What is known before anything is chosen.

    Attributes:
        photos: for training.
        side: the shorter side of a usual photo, in px.
        student: name of the student.
        width: of the teacher's embeddings.
        teacher_side: that the teacher's file was trained at, in px; None: nothing tells.
        cores: of the processor that this process may use.
        gpu: name of the GPU; None: there is none.
        gpu_memory: its memory, in bytes.
        bf16: whether it computes in bfloat16.
        disk: bytes free where drawn views are kept.
        hours: that the training may take; None: no budget is given.
        affordable: epochs that the measured speed allows in that time; None: not measured.
        speed: images per second that were measured.
    """

    photos: int
    side: int
    student: str
    width: int
    teacher_side: int | None = None
    cores: int = 1
    gpu: str | None = None
    gpu_memory: int = 0
    bf16: bool = False
    disk: int = 0
    hours: float | None = None
    affordable: int | None = None
    speed: float | None = None


class Choice(NamedTuple):
    """A setting of the run.

    Attributes:
        name: of the setting.
        value: what it is.
        reason: why, in a few words; `given` where the user asked for it.
    """

    name: str
    value: Any
    reason: str


GIVEN = "given"


def choose(facts: Facts, given: Mapping[str, Any]) -> list[Choice]:
    """Chooses every setting that is not given.

    Args:
        facts: what is known of photos, teacher and machine.
        given: values by name; None stands for one that is to be chosen.

    Returns:
        All settings, in the order in which they are shown.
    """
    made: dict[str, Choice] = {}

    def add(name: str, value: Any, reason: str) -> Any:
        asked = given.get(name)
        made[name] = Choice(name, value, reason) if asked is None else Choice(name, asked, GIVEN)
        return made[name].value

    add("method", METHOD, WHY_METHOD)
    side = add("crop_size", *crop_size(facts.side))
    add("teacher_size", *teacher_size(side, facts.teacher_side))
    device = add("device", *_device(facts))
    batch = add("batch_size", *_batch_size(facts, device))
    epochs = add("epochs", *_epochs(facts))
    add("lr", *_rate(facts.student))
    add("queue_size", *_queue_size(facts, batch, epochs))
    add("precision", *_precision(facts, device))
    add("memory_format", AUTO, "for each network the faster one (docs/speed.md)")
    add("workers", *_workers(facts, device))
    add("drawn_views", *_drawn_views(facts, side, epochs))
    return list(made.values())


def refuse_impossible(facts: Facts, values: Mapping[str, Any]) -> None:
    """Refuses what this machine or these photos cannot do.

    Args:
        facts: what is known.
        values: of all settings, by name.

    Raises:
        UserError: a batch has more photos than there are, or the device is missing or lacks the
            precision.
    """
    batch, device, precision = (values[name] for name in ("batch_size", "device", "precision"))
    if batch > facts.photos:
        raise refuse("batch_size", batch, f"at most {facts.photos}, the photos for training")
    if device == "gpu" and facts.gpu is None:
        raise refuse("device", device, "cpu: torch finds no GPU here")
    if device == "cpu" and precision == "16":
        raise refuse("precision", precision, "32 or bf16 on a CPU")


def crop_size(side: int) -> tuple[int, str]:
    """The side of the student's views by that of the photos, both in px, and the reason."""
    if side <= SMALL_IMAGE:
        return side, f"the photos' own, usually {side} px"
    if side >= LARGE_IMAGE:
        return LARGE_IMAGE, f"the photos have {side} px and more, usually"
    return side // GRAIN * GRAIN, f"the photos have {side} px, usually"


def teacher_size(side: int, trained: int | None) -> tuple[int, str]:
    """The side of the teacher's views, by the student's and its file's, all in px."""
    if trained is None:
        return side, "the student's: nothing tells at which size the file was trained"
    return trained, "its file was trained at that size"


def _device(facts: Facts) -> tuple[str, str]:
    return ("gpu", facts.gpu) if facts.gpu else ("cpu", f"no GPU is there; {facts.cores} cores")


def _batch_size(facts: Facts, device: str) -> tuple[int, str]:
    usual, why = BATCHES[device], f"usual on a {device.upper()}"
    if device == "gpu" and facts.gpu_memory < SMALL_GPU:
        usual, why = usual // 2, f"for {facts.gpu_memory / 2**30:.0f} GiB of the GPU's memory"
    fits = power_of_two(facts.photos // STEPS)
    if fits < usual:
        least = min(2, facts.photos)  # BatchNorm has no statistics of one image
        return max(least, fits), f"{STEPS} steps or more in an epoch of {facts.photos:,} photos"
    return usual, why


def _epochs(facts: Facts) -> tuple[int, str]:
    if facts.affordable is not None and facts.hours is not None:
        enough = facts.affordable > 0
        why = f"in {facts.hours:g} h at {facts.speed or 0:.0f} images/s, measured"
        return max(1, facts.affordable), why if enough else f"one takes longer than fits {why}"
    low, high = EPOCHS
    epochs = min(high, max(low, round(SEEN / facts.photos)))
    return epochs, f"about {epochs * facts.photos:,} photos seen; --hours or --epochs decides else"


def _rate(student: str) -> tuple[float, str]:
    known = [rate for name, rate in RATES.items() if student.removeprefix("timm:").startswith(name)]
    return (known or [RATE])[0], "for a batch of 256; the best of a sweep (docs/benchmarks.md)"


def _queue_size(facts: Facts, batch: int, epochs: int) -> tuple[int, str]:
    training = Training(facts.photos, batch, facts.photos // batch, epochs)
    keys = lengths.queue_size(training)
    fits = power_of_two(KEYS // (4 * facts.width))
    if fits < keys:
        return fits, f"{KEYS / 2**20:.0f} MiB of keys with {facts.width} numbers"
    return keys, "by the number of photos (docs/queue.md)"


def _precision(facts: Facts, device: str) -> tuple[str, str]:
    if device == "cpu":
        return "32", "16 bits are slower on a processor (docs/performance.md)"
    if facts.bf16:
        return "bf16", "the GPU computes in bfloat16"
    return "16", "the GPU has no bfloat16"


def _workers(facts: Facts, device: str) -> tuple[int, str]:
    return min(WORKERS[device], facts.cores), f"{facts.cores} cores"


def _drawn_views(facts: Facts, side: int, epochs: int) -> tuple[int, str]:
    pixels = facts.photos * VIEWS * 3 * side * side
    if facts.hours is not None:
        return 0, "a budget of time is measured with views that are drawn at each step"
    if 2 * epochs <= VIEWS:
        return 0, f"{epochs} epochs show no view twice"
    if pixels > min(DRAWN, facts.disk // 4):
        return 0, f"{VIEWS} views of each photo would take {pixels / 2**30:.1f} GiB"
    return VIEWS, f"the teacher sees {VIEWS} views of each photo once, not two in every epoch"
