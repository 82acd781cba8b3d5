"""Two processes on a CPU, started by Lightning from the command line, as it does for two GPUs."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

# `solo-rekd`, which keeps what a rank pushed and, at the end, the state of its objective.
WITNESS = """
import os
import torch
from solo_rekd import hosts
from solo_rekd.cli import main
from solo_rekd.objectives import ReKD

hosts.commands()
from solo.methods import METHODS

pushed, seen = [], []
remember, step = ReKD.remember, METHODS["rekd"].training_step

def train(self, batch, number):
    seen.append(batch[0].tolist())
    return step(self, batch, number)

def record(self, keys, taught, ids, labels):
    pushed.append({"student": keys[1], "teacher": taught[1], "ids": ids, "labels": labels})
    remember(self, keys, taught, ids, labels)

def save(self):
    found = {"state": self.objective.state_dict(), "pushed": pushed, "seen": seen}
    queues = {buffer.data_ptr() for queue in self.objective.queues for buffer in queue.buffers()}
    sent = self.trainer.model.modules_buffers
    found["sent"] = {buffer.data_ptr() in queues for buffer in sent}
    found["crops"] = self.trainer.train_dataloader.loaders.generator.initial_seed()
    torch.save(found, os.path.join(os.environ["WITNESS"], f"rank{self.global_rank}.pt"))

ReKD.remember = record
METHODS["rekd"].training_step, METHODS["rekd"].on_train_end = train, save
main()
"""


@pytest.fixture(scope="module")
def ranks(
    flags: Callable[..., list[str]], tmp_path_factory: pytest.TempPathFactory
) -> list[dict[str, Any]]:
    """What both ranks of one run saw."""
    folder = tmp_path_factory.mktemp("ddp")
    script = folder / "witness.py"
    script.write_text(WITNESS)
    # 48 images in global batches of 8, so both queues of 24 hold the last three steps of six
    two = {"devices": 2, "strategy": "ddp", "batch_size": 4, "limit_val_batches": 1}
    done = subprocess.run(
        [sys.executable, script, "pretrain", *flags("pretrain", method="rekd", **two)],
        env=os.environ | {"WITNESS": str(folder), "OMP_NUM_THREADS": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "images/s; checkpoint: none" in done.stdout
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.slow
def test_every_rank_holds_the_same_objective(ranks: list[dict[str, Any]]) -> None:
    one, other = (rank["state"] for rank in ranks)
    for name in ("queues.1.student", "queues.1.teacher", "queues.1.ids", "bank.prototypes"):
        assert torch.equal(one[name], other[name]), name
    differ = [name for name in one if not torch.equal(one[name], other[name])]
    # each rank has its own statistics of BatchNorm; the first rank's are saved
    assert all("running_" in name for name in differ), differ


@pytest.mark.slow
def test_the_queue_holds_the_global_batches_in_rank_order(ranks: list[dict[str, Any]]) -> None:
    state = ranks[0]["state"]
    steps = list(zip(*(rank["pushed"] for rank in ranks), strict=True))
    assert len(steps) == 6
    assert not torch.equal(steps[-1][0]["student"], steps[-1][1]["student"])
    for field in ("student", "teacher", "labels"):
        expected = torch.cat([rank[field] for step in steps[3:] for rank in step])
        assert torch.equal(state[f"queues.1.{field}"], expected), field
    assert int(state["queues.1.seen"]) == 48
    # the relation was at work: the last batch has prototypes, found alike on both ranks
    last = torch.cat([rank["ids"] for rank in steps[-1]])
    assert (last >= 0).all()
    held = state["queues.1.ids"][-8:]
    assert torch.equal(held[held >= 0], last[held >= 0])


@pytest.mark.slow
def test_ddp_sends_the_statistics_and_not_the_queues(ranks: list[dict[str, Any]]) -> None:
    assert [rank["sent"] for rank in ranks] == [{False}, {False}]


@pytest.mark.slow
def test_an_epoch_has_every_image_once(ranks: list[dict[str, Any]]) -> None:
    seen = [index for rank in ranks for batch in rank["seen"] for index in batch]
    assert sorted(seen) == list(range(48))


@pytest.mark.slow
def test_every_rank_draws_its_own_crops(ranks: list[dict[str, Any]]) -> None:
    assert ranks[0]["crops"] != ranks[1]["crops"]


@pytest.mark.trial
def test_the_command_runs_two_processes(flags: Callable[..., list[str]], tmp_path: Path) -> None:
    two = {"devices": 2, "strategy": "ddp", "limit_train_batches": 1, "save_checkpoint": True}
    argv = flags("pretrain", method="rekd", **two, checkpoint_dir=tmp_path, limit_val_batches=0)
    command = Path(sys.executable).with_name("solo-rekd")
    done = subprocess.run(
        [command, "pretrain", *argv], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    (saved,) = tmp_path.glob("rekd/*/*.ckpt")
    state = torch.load(saved, weights_only=True)["state_dict"]
    assert int(state["objective.queues.0.seen"]) == 16
