"""What is measured: sizes, and the methods with their settings."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """The sizes of a step.

    Attributes:
        student: name of its backbone.
        teacher: likewise.
        side: of the views, in px.
        batch: images of a step, in two views each.
        queue: keys of each view's queue; CompRess has one memory of twice that.
        steps: measured after the warm-up, in one round.
        rounds: of all methods in turn.
        warmup: steps that are not measured.
        stem: the student's first layers, see `build_backbone`.
    """

    student: str
    teacher: str
    side: int
    batch: int
    queue: int
    steps: int
    rounds: int = 1
    warmup: int = 1
    stem: str = "auto"

    def __str__(self) -> str:
        return (
            f"`{self.student}` with `{self.teacher}`, {self.side} px, batch {self.batch}, "
            f"queue {self.queue:,}"
        )


@dataclass(frozen=True)
class Arm:
    """A method with settings.

    Attributes:
        method: a name that the host knows.
        settings: its flags.
        teacher: `frozen`, `online`, `image` (frozen, each image seen once before the training), or
            empty: the method has none.
        heads: whether student and teacher have projectors.
        twin: whether the loss reads the features of the student's momentum twin.
        flags: of the host's trainer, beside those of every arm.
        note: what the table says of the flags.
    """

    method: str
    settings: dict[str, str] = field(default_factory=dict)
    teacher: str = "frozen"
    twin: bool = False
    heads: bool = True
    flags: tuple[str, ...] = ()
    note: str = ""

    def __str__(self) -> str:
        said = [f"`{self.method}`", *(f"{key}={value}" for key, value in self.settings.items())]
        said += [f"{self.teacher} teacher"] if self.teacher in ("online", "image") else []
        said += [self.note] if self.note else []
        return ", ".join(said)


SMALL = Case("mobilenet_v3_small", "timm:tf_efficientnet_lite0", 64, 32, 8192, 5)
LARGE = Case("mobilenet_v3_large", "resnet50", 224, 4, 65536, 3)
TINY = Case("mobilenet_v3_small", "timm:resnet10t", 32, 4, 64, 1)  # tries the scripts alone

MOCO = Arm("mocov2plus", teacher="", twin=True)
SIMCLR = Arm("simclr", teacher="")
SEED = Arm("seed")
SEED_BARE = Arm("seed", {"teacher_probe": "off"})
SEED_IMAGE = Arm("seed", teacher="image")
COMPRESS_1Q = Arm("compress", {"variant": "1q"}, heads=False)
COMPRESS_2Q = Arm("compress", {"variant": "2q"}, twin=True, heads=False)
DISCO = Arm("disco", twin=True)
CRCD = Arm("crcd", twin=True)
BINGO = Arm("bingo")
# their head predicts the teacher's features, and is no part of the floor
SIMREG = Arm("simreg", heads=False)
# neighbours are found before the training and fill a batch, whose step is the same
COSS = Arm("coss", {"neighbours": "0"}, heads=False)
REKD = Arm("rekd", {"dictionary": "both"}, twin=True)
REKD_STUDENT = Arm("rekd", {"dictionary": "student"}, twin=True)
REKD_TEACHER = Arm("rekd", {"dictionary": "teacher"})
REKD_ONLINE = Arm("rekd", {"dictionary": "both"}, "online", twin=True)

METHODS = (MOCO, SEED, COMPRESS_2Q, DISCO, CRCD, BINGO, SIMREG, COSS, REKD, REKD_ONLINE)
VARIANTS = (SIMCLR, COMPRESS_1Q, REKD_STUDENT, REKD_TEACHER, SEED_BARE, SEED_IMAGE)
