"""What the tests of the commands share: a host that keeps its jobs and does none."""

from pathlib import Path
from typing import Any

import pytest

from solo_rekd import hosts
from solo_rekd.config import CONFIGS
from solo_rekd.hosts.jobs import Accuracy, Pretrained


class StandIn:
    """A host that keeps what it is asked for."""

    name = "classic"

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def methods(self) -> dict[str, list[str]]:
        """Ours with their settings, and one of a host's."""
        ours = {name: list(config.__dataclass_fields__) for name, config in CONFIGS.items()}
        return ours | {"byol": ["pred_hidden_dim", "base_tau_momentum"]}

    def pretrain(self, *asked: Any) -> Pretrained:
        """Keeps what it is asked for."""
        self.asked.append(asked)
        metrics = {"train_nce_loss_epoch": 1.5, "train_nce_loss_step": 2.0}
        return Pretrained(Path("a.ckpt"), 2.0, 50.0, metrics)

    def linear(self, *asked: Any) -> Accuracy:
        """Keeps what it is asked for."""
        self.asked.append(asked)
        return Accuracy(12.5, 50.0, "as agreed")


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> StandIn:
    """The host that every command finds, in a folder of what the commands name."""
    for split in ("train", "val"):
        for name in "ab":
            (place := tmp_path / "D" / split / name).mkdir(parents=True)
            (place / "1.png").touch()
    for name in ("x.ckpt", "b.ckpt"):
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    host = StandIn()
    monkeypatch.setattr(hosts, "find", lambda given: host)
    return host
