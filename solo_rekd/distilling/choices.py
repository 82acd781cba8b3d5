"""The settings of a distillation, each with its value and the reason for it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from solo_rekd import lengths
from solo_rekd.config import AUTO
from solo_rekd.images.data_sets import LARGE_IMAGE, SMALL_IMAGE
from solo_rekd.lengths import Training, power_of_two
from solo_rekd.utils.errors import refuse

METHOD = "rekd"
WHY_METHOD = "none measured with a frozen teacher is reliably better (docs/benchmarks.md)"
# learning rates for a batch of 256, the best of sweeps by students (docs/benchmarks.md)
RATE, RATES = 0.03, {"mobilenet_v3": 0.1, "efficientnet": 0.1}
GRAIN = 32  # px: total stride of the networks, so that no feature map cuts a pixel in half
BATCHES = {"cpu": 64, "gpu": 256}  # images
SMALL_GPU = 16 * 2**30  # bytes of memory; with less, the batch is half as large
STEPS = 10  # per epoch, at least: fewer photos get smaller batches
SEEN = 2_000_000  # photos seen in all epochs together, about
EPOCHS = (10, 200)  # at least, and at most
KEYS = 2**29  # bytes of a queue's keys, at most
VIEWS = 16  # drawn views per photo: 8 epochs without a repetition (docs/teachers.md)
DRAWN = 2**32  # bytes of their pixels, at most
WORKERS = {"cpu": 4, "gpu": 16}  # at most


class Facts(NamedTuple):
    """What is known before anything is chosen.

    Attributes:
        photos: number of photos for training.
        side: median of the photos' shorter sides, in px.
        student: name of the student.
        width: width of the teacher's embeddings.
        teacher_side: image size that the teacher was trained at, in px; None: not known.
        cores: processor cores that this process may use.
        gpu: name of the GPU; None: there is none.
        gpu_memory: its memory, in bytes.
        bf16: whether it supports bfloat16.
        disk: free bytes where drawn views are kept.
        hours: time limit of the training; None: there is none.
        affordable: epochs that fit in that time at the measured speed; None: not measured.
        speed: measured images per second.
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
        name: name of the setting.
        value: its value.
        reason: the reason, in a few words; `given` where the user set it.
    """

    name: str
    value: Any
    reason: str


GIVEN = "given"


def choose(facts: Facts, given: Mapping[str, Any]) -> list[Choice]:
    """Chooses every setting that is not given.

    Args:
        facts: what is known of photos, teacher and machine.
        given: values by name; None for one that is to be chosen.

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
    add("memory_format", AUTO, "the faster one for each network (docs/speed.md)")
    add("workers", *_workers(facts, device))
    add("drawn_views", *_drawn_views(facts, side, epochs))
    return list(made.values())


def refuse_impossible(facts: Facts, values: Mapping[str, Any]) -> None:
    """Refuses settings that do not work on this machine or with these photos.

    Args:
        facts: what is known.
        values: values of all settings, by name.

    Raises:
        UserError: the batch is larger than the number of photos, or the device is missing or lacks
            the precision.
    """
    batch, device, precision = (values[name] for name in ("batch_size", "device", "precision"))
    if batch > facts.photos:
        raise refuse("batch_size", batch, f"at most {facts.photos}, the number of training photos")
    if device == "gpu" and facts.gpu is None:
        raise refuse("device", device, "cpu: torch finds no GPU here")
    if device == "cpu" and precision == "16":
        raise refuse("precision", precision, "32 or bf16 on a CPU")


def crop_size(side: int) -> tuple[int, str]:
    """Chooses the side of the student's views by that of the photos, in px; returns the reason."""
    if side <= SMALL_IMAGE:
        return side, f"the photos' own size, usually {side} px"
    if side >= LARGE_IMAGE:
        return LARGE_IMAGE, f"the photos usually have {side} px"
    return side // GRAIN * GRAIN, f"the photos usually have {side} px"


def teacher_size(side: int, trained: int | None) -> tuple[int, str]:
    """Chooses the side of the teacher's views by the student's and its file's, all in px."""
    if trained is None:
        return side, "the student's size: the size that the teacher was trained at is not known"
    return trained, "the teacher was trained at that size"


def _device(facts: Facts) -> tuple[str, str]:
    return ("gpu", facts.gpu) if facts.gpu else ("cpu", f"no GPU found; {facts.cores} cores")


def _batch_size(facts: Facts, device: str) -> tuple[int, str]:
    usual, why = BATCHES[device], f"the default on a {device.upper()}"
    if device == "gpu" and facts.gpu_memory < SMALL_GPU:
        usual, why = usual // 2, f"the GPU has {facts.gpu_memory / 2**30:.0f} GiB of memory"
    fits = power_of_two(facts.photos // STEPS)
    if fits < usual:
        least = min(2, facts.photos)  # BatchNorm needs more than one image
        return max(least, fits), f"{STEPS} or more steps per epoch of {facts.photos:,} photos"
    return usual, why


def _epochs(facts: Facts) -> tuple[int, str]:
    if facts.affordable is not None and facts.hours is not None:
        enough = facts.affordable > 0
        why = f"{facts.hours:g} h at the measured {facts.speed or 0:.0f} images/s"
        fits = f"what fits in {why}" if enough else f"the minimum: one takes more than {why}"
        return max(1, facts.affordable), fits
    low, high = EPOCHS
    epochs = min(high, max(low, round(SEEN / facts.photos)))
    return epochs, f"about {epochs * facts.photos:,} photos seen; --hours or --epochs overrides"


def _rate(student: str) -> tuple[float, str]:
    known = [rate for name, rate in RATES.items() if student.removeprefix("timm:").startswith(name)]
    return (known or [RATE])[0], "for a batch of 256; the best of a sweep (docs/benchmarks.md)"


def _queue_size(facts: Facts, batch: int, epochs: int) -> tuple[int, str]:
    training = Training(facts.photos, batch, facts.photos // batch, epochs)
    keys = lengths.queue_size(training)
    fits = power_of_two(KEYS // (4 * facts.width))
    if fits < keys:
        return fits, f"keys of {facts.width} numbers may take {KEYS / 2**20:.0f} MiB"
    return keys, "follows from the number of photos (docs/queue.md)"


def _precision(facts: Facts, device: str) -> tuple[str, str]:
    if device == "cpu":
        return "32", "16 bits are slower on a CPU (docs/performance.md)"
    if facts.bf16:
        return "bf16", "the GPU supports bfloat16"
    return "16", "the GPU does not support bfloat16"


def _workers(facts: Facts, device: str) -> tuple[int, str]:
    return min(WORKERS[device], facts.cores), f"{facts.cores} cores"


def _drawn_views(facts: Facts, side: int, epochs: int) -> tuple[int, str]:
    pixels = facts.photos * VIEWS * 3 * side * side
    if facts.hours is not None:
        return 0, "with --hours, the speed is measured with views that are drawn at each step"
    if 2 * epochs <= VIEWS:
        return 0, f"{epochs} epochs would use no view twice"
    if pixels > min(DRAWN, facts.disk // 4):
        return 0, f"{VIEWS} views of each photo would take {pixels / 2**30:.1f} GiB"
    return VIEWS, f"the teacher runs once on {VIEWS} views per photo, not on two in every epoch"
