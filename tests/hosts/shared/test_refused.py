from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from solo_rekd.utils.errors import UserError

Flags = Callable[..., list[str]]
# BatchNorm refuses the batch in the first step, when the host has written args.json
REFUSED = {"batch_size": 1, "teacher": "resnet18", "teacher_stem": "imagenet"}


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    "there", ["", "out", "out/rekd", "out/rekd/other", "out/rekd/other/x.ckpt"]
)
def test_a_refused_run_leaves_what_was_there(
    there: str,
    host: ModuleType,
    flags: Flags,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    if there:
        (tmp_path / there).mkdir(parents=True)
    before = names(tmp_path)
    kept = {"save_checkpoint": True, "checkpoint_dir": "out"}
    with pytest.raises(UserError, match="batch_size=1"):
        host.pretrain(flags("pretrain", method="rekd", **kept, **REFUSED))
    assert names(tmp_path) == before


def fail_in_epoch(monkeypatch: pytest.MonkeyPatch, epoch: int, error: Exception) -> None:
    from solo_rekd.hosts.shared.method import Distilled

    step = Distilled.training_step

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        if self.current_epoch == epoch:
            raise error
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Distilled, "training_step", training_step)


@pytest.mark.parametrize(
    ("epoch", "error"), [(1, UserError("late")), (0, RuntimeError("a bug"))], ids=["late", "bug"]
)
def test_what_may_be_of_use_stays(
    epoch: int,
    error: Exception,
    host: ModuleType,
    flags: Flags,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fail_in_epoch(monkeypatch, epoch, error)
    run = {"method": "rekd", "save_checkpoint": True, "checkpoint_dir": tmp_path, "max_epochs": 2}
    with pytest.raises(type(error), match=str(error)):
        host.pretrain(flags("pretrain", **run, limit_val_batches=0))
    assert len(list(tmp_path.glob("rekd/*/args.json"))) == 1
    assert len(list(tmp_path.glob("rekd/*/*.ckpt"))) == epoch
