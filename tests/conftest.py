"""What the tests of the host share: tiny images, flags of tiny runs, and checkpoints of such runs.

The host's libraries take seconds to import, so only the fixtures below do it.
"""

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

# of property-based tests: the same examples in every run, in a second or two for each test;
# `--hypothesis-profile=thorough` looks further, and anew
QUIET = {"deadline": None, "database": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("quick", max_examples=25, derandomize=True, **QUIET)
settings.register_profile("thorough", max_examples=2000, **QUIET)
settings.load_profile("quick")

IMAGES = {
    "dataset": "custom",
    "train_dir": "train",
    "val_dir": "val",
    "mean": "0.5 0.5 0.5",
    "std": "0.5 0.5 0.5",
    "crop_size": 32,
    "batch_size": 8,
    "num_workers": 0,
    "encoder": "alexnet",
}
TRAINER = {
    "max_epochs": 1,
    "accelerator": "cpu",
    "enable_progress_bar": False,
    "optimizer": "sgd",
    "scheduler": "none",
    "lr": 0.1,
}
AUGMENTATION = {
    "brightness": 0.4,
    "contrast": 0.4,
    "saturation": 0.2,
    "hue": 0.1,
    "gaussian_prob": 0,
    "min_scale": 0.5,
}
HEAD = {"classifier_lr": 0.01, "proj_hidden_dim": 16, "proj_output_dim": 8}
# 48 images fill a queue of 24 in three steps of six, so the relation trains in the other three
DISTILLED = HEAD | {"queue_size": 24, "teacher": "timm:resnet10t"}
METHODS = {
    "simclr": HEAD,
    "mocov2plus": HEAD | {"queue_size": 24},
    "dino": HEAD | {"num_prototypes": 8, "warmup_teacher_temperature_epochs": 1},
    "rekd": DISTILLED | {"num_prototypes": 4, "teacher_warmup_epochs": 0},
}


def write_images(folder: Path, seed: int, classes: str, number: int) -> None:
    """Writes noise under a colour of its class, from which a network can just tell the class."""
    rng = np.random.default_rng(seed)
    for channel, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(number):
            pixels = rng.integers(0, 256, (32, 32, 3))
            pixels[..., channel] = 64 + pixels[..., channel] // 2
            Image.fromarray(pixels.astype("uint8")).save(folder / name / f"{index:02d}.png")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the bags of bingo's runs out of the user's own folder for caches."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def unclaimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps a command that a test runs from making the runs of later tests ours."""
    from solo_rekd.hosts.shared import ownership

    monkeypatch.setattr(ownership, "_claimed", False)


@pytest.fixture(autouse=True)
def undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the decoded images that a test chooses from being read in later tests."""
    from solo_rekd.images.decoded.chosen import VARIABLE

    monkeypatch.setenv(VARIABLE, "{}")


@pytest.fixture(autouse=True)
def unskipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps a run that leaves broken images out from making later tests do so."""
    from solo_rekd.images.broken import VARIABLE

    monkeypatch.setenv(VARIABLE, "0")


@pytest.fixture(autouse=True)
def unheard() -> None:
    """Keeps the level at which a command logs from being that of later tests."""
    logging.getLogger("solo_rekd").setLevel(logging.NOTSET)


@pytest.fixture
def solo(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs `solo-rekd` in this process: exit code, standard output, standard error."""

    from solo_rekd.cli import main

    def run(*argv: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["solo-rekd", *argv])
        capsys.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as stopped:
            code = stopped.code
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder: `train` and `val` with 3 classes, `two/train` and `two/val` with 2, `flat`."""
    root = tmp_path_factory.mktemp("data")
    write_images(root / "train", 0, "abc", 16)
    write_images(root / "val", 1, "abc", 8)
    write_images(root / "two" / "train", 0, "ab", 16)
    write_images(root / "two" / "val", 1, "ab", 8)
    (root / "flat").mkdir()
    for path in (root / "train").glob("*/*.png"):
        (root / "flat" / f"{path.parent.name}{path.name}").symlink_to(path)
    return root


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every command of `mistakes.yaml` works; its student was pretrained there.

    It is for copies: no test changes it.
    """
    from mistakes import make_ready

    return make_ready(tmp_path_factory.mktemp("ready"))


@pytest.fixture(scope="session")
def flags(data: Path) -> Callable[..., list[str]]:
    """Builds the flags of a tiny run: flags("pretrain", method="rekd", max_epochs=2).

    True stands for a flag without a value, None leaves a flag out.
    """

    def build(job: str, **changes: Any) -> list[str]:
        settings = IMAGES | {"data_dir": data}
        if job == "pretrain":
            settings |= TRAINER | AUGMENTATION | METHODS.get(changes["method"], DISTILLED)
        if job == "linear":
            settings |= TRAINER
        argv = []
        for name, value in (settings | changes).items():
            if value is not None:
                argv += [f"--{name}", *([] if value is True else str(value).split())]
        return argv

    return build


@pytest.fixture(scope="session")
def host() -> ModuleType:
    """The classic host's jobs, `pretrain`, `linear` and `knn`, with the plug-in active."""
    from solo_rekd import hosts

    return hosts.commands()


@pytest.fixture(scope="session")
def train(
    host: ModuleType, flags: Callable[..., list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., dict[str, Any]]:
    """Pretrains a tiny run in a folder of its own: train("rekd", teacher_mode="frozen")."""

    def run(method: str, **changes: Any) -> dict[str, Any]:
        folder = {"save_checkpoint": True, "checkpoint_dir": tmp_path_factory.mktemp("runs")}
        return host.pretrain(flags("pretrain", method=method, **(folder | changes)))

    return run


@pytest.fixture(scope="session")
def moco(train: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """A run of the host's own mocov2plus and ResNet-18, whose checkpoint also makes a teacher."""
    return train("mocov2plus", encoder="resnet18", limit_train_batches=2, limit_val_batches=0)


@pytest.fixture(scope="session")
def online(train: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """A run of rekd with an online teacher."""
    return train("rekd")


@pytest.fixture(scope="session")
def frozen_teacher(moco: dict[str, Any]) -> dict[str, Any]:
    """The flags that make the run `moco` a frozen teacher."""
    return {
        "teacher": "resnet18",
        "teacher_mode": "frozen",
        "teacher_checkpoint": moco["checkpoint"],
    }


@pytest.fixture(scope="session")
def frozen(train: Callable[..., dict[str, Any]], frozen_teacher: dict[str, Any]) -> dict[str, Any]:
    """A run of rekd with a frozen teacher."""
    return train("rekd", **frozen_teacher)
