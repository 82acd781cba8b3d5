import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from command import judge
from torch import nn
from torch.utils.data import DataLoader, Dataset, get_worker_info

from solo_rekd.hosts.shared.checks import refuse_size
from solo_rekd.hosts.shared.mistakes import as_mistake
from solo_rekd.utils.errors import UserError

Flags = Callable[..., list[str]]


def test_a_mistake_stays_what_it_is() -> None:
    error = UserError("a=1")
    assert as_mistake(error) is error


@pytest.mark.parametrize(
    "error",
    [
        ValueError("not of the trainer"),
        OSError(errno.EMFILE, "Too many open files", "file"),
        FileNotFoundError(errno.ENOENT, "No such file"),
        RuntimeError("a bug"),
        KeyboardInterrupt(),
    ],
)
def test_any_other_error_is_none(error: BaseException) -> None:
    assert as_mistake(error) is None


def test_what_torch_cannot_compile_is_the_settings_fault() -> None:
    def fail(*args: Any) -> None:
        raise ValueError("Python.h is missing")

    with pytest.raises(Exception, match=r"Python\.h") as raised:
        torch.compile(torch.sin, backend=fail)(torch.ones(1))
    mistake = as_mistake(raised.value)
    assert mistake is not None
    assert "compile" in str(mistake) and "Python.h" in str(mistake)


def test_a_place_that_the_system_refuses_is_named() -> None:
    error = PermissionError(errno.EACCES, "Permission denied", "/data/train")
    mistake = as_mistake(error)
    assert str(mistake) == "/data/train: Permission denied"
    assert mistake is not None and mistake.__cause__ is error


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_needs_no_name(number: int) -> None:
    assert "No room" in str(as_mistake(OSError(number, "No room")))


class OutOfMemoryError(RuntimeError):
    """As torch's of a GPU is called."""


def allocate_on_a_gpu() -> None:
    raise OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has ...")


@pytest.mark.parametrize(
    ("allocate", "size"),
    [
        (lambda: torch.empty(10**14), "400000000000000 bytes"),
        (lambda: torch.empty(2**60, 2**10), "out of memory: give"),
        (lambda: np.ones(10**14), "728. TiB"),
        (allocate_on_a_gpu, "20.00 MiB"),
        (lambda: [0] * 10**15, "out of memory: give"),
    ],
    ids=["torch", "overflow", "numpy", "gpu", "python"],
)
def test_too_little_memory_is_told_with_what_to_make_smaller(
    allocate: Callable[[], Any], size: str
) -> None:
    with pytest.raises((RuntimeError, MemoryError)) as raised:
        allocate()
    mistake = str(as_mistake(raised.value))
    assert size in mistake and "batch_size" in mistake


class Deadly(Dataset[int]):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> int:
        if get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        return index


def test_a_lost_loader_process_is_told_with_what_to_change() -> None:
    with pytest.raises(RuntimeError, match="DataLoader worker") as raised:
        list(DataLoader(Deadly(), num_workers=1))
    assert "num_workers" in str(as_mistake(raised.value))


def test_batch_norm_of_one_value_is_the_batchs() -> None:
    with pytest.raises(ValueError, match="more than 1 value") as caught:
        nn.BatchNorm1d(3)(torch.zeros(1, 3))
    assert "batch_size=1" in str(as_mistake(caught.value))


class OnlyOnCpu(nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        assert float(images.sum()) == 0  # the meta device has no values
        return images


def test_a_backbone_that_needs_values_is_tried_with_values() -> None:
    refuse_size("crop_size", 32, "only_on_cpu", OnlyOnCpu)
    with pytest.raises(UserError, match=r"crop_size=32 .* linear accepts"):
        refuse_size("crop_size", 32, "linear", lambda: nn.Linear(7, 1))


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"precision": "sixteen"}, ["'sixteen'", "bf16"]),
        ({"strategy": "dpp"}, ["strategy='dpp'", "ddp"]),
        ({"accelerator": "gpuu"}, ["accelerator='gpuu'", "cpu"]),
        ({"devices": "two"}, ["devices", "int > 0"]),
        ({"profiler": "x"}, ["profiler", "simple"]),
        ({"limit_train_batches": 1.5}, ["limit_train_batches", "1.5"]),
        ({"limit_train_batches": 0.01}, ["limit_train_batches"]),
        ({"limit_train_batches": 0}, ["limit_train_batches=0", "1 or more"]),
        ({"accumulate_grad_batches": 0}, ["accumulate_grad_batches=0", "1 or more"]),
        ({"num_workers": 100_000}, ["num_workers=100000", "1024"]),
        ({"batch_size": 49}, ["batch_size=49", "images, 48"]),
        (
            {"batch_size": 1, "teacher": "resnet18", "teacher_stem": "imagenet"},
            ["batch_size=1", "at least 2"],
        ),
        ({"data_dir": "nowhere"}, ["nowhere/train"]),
        ({"checkpoint_dir": "file"}, ["checkpoint_dir='file'", "is a file"]),
        ({"resume_from_checkpoint": "none.ckpt"}, ["none.ckpt", "does not exist"]),
    ],
)
def test_a_mistake_in_pretraining_names_key_and_value_and_leaves_nothing(
    changes: dict[str, Any],
    parts: list[str],
    host: ModuleType,
    flags: Flags,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    run = {"method": "rekd", "save_checkpoint": True, "checkpoint_dir": "out"} | changes
    with pytest.raises(UserError) as caught:
        host.pretrain(flags("pretrain", **run))
    assert [part for part in parts if part not in str(caught.value)] == []
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(host: ModuleType, flags: Flags) -> None:
    with pytest.raises(UserError, match=r"accelerator='gpu' .* cpu or auto"):
        host.pretrain(flags("pretrain", method="rekd", accelerator="gpu"))


@pytest.mark.parametrize("job", ["pretrain", "linear", "knn"])
def test_a_class_without_images_is_named(
    job: str, host: ModuleType, flags: Flags, data: Path, tmp_path: Path
) -> None:
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        for name in "abc":
            (tmp_path / split / name).symlink_to(data / split / name)
        (tmp_path / split / "unicorn").mkdir()
    checkpoint = tmp_path / "x.ckpt"
    checkpoint.touch()
    own = {"method": "rekd"} if job == "pretrain" else {"pretrained_feature_extractor": checkpoint}
    with pytest.raises(UserError, match=r"^train_dir=.*unicorn"):
        (judge if job == "knn" else getattr(host, job))(flags(job, data_dir=tmp_path, **own))


def test_a_mistake_in_a_network_is_not_told_as_one_of_its_size() -> None:
    def build() -> nn.Module:
        raise UserError("stem='big' is not allowed")

    with pytest.raises(UserError, match=r"^stem='big' is not allowed$"):
        refuse_size("crop_size", 32, "net", build)
