"""Any plan, any order of ends and failures: every run once, and never more than `jobs` at once."""

import json
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import example, given
from hypothesis import strategies as st

from solo_rekd.compare import schedule as module
from solo_rekd.compare.schedule import Schedule, Task

RESULT = {
    "pretrain": {"seconds": 60},
    "linear_host": {"top1": 40.0, "seconds": 2},
    "linear_cached": {"top1": 50.0, "seconds": 1},
    "knn": {"top1": 30.0, "seconds": 1},
}
ENDS = ("finishes", "fails", "is killed", "writes nothing", "writes and fails")


@dataclass
class Fate:
    """What becomes of a run: how, after how many looks, and the place of the one that it needs."""

    ends: str
    looks: int
    after: int | None = None


FATES = st.lists(
    st.builds(Fate, st.sampled_from(ENDS), st.integers(0, 3), st.none() | st.integers(0, 6)),
    max_size=7,
)


@dataclass
class Played:
    """A run at work that ends as its fate has it."""

    folder: Path
    fate: Fate
    owner: "Player"
    looks: int = 0

    def poll(self) -> int | None:
        self.looks += 1
        if self.looks <= self.fate.looks:
            return None
        self.owner.at_work.discard(self.folder)
        if self.fate.ends in ("finishes", "writes and fails"):
            (self.folder / "result.json").write_text(json.dumps(RESULT))
        return {"fails": 1, "is killed": -9, "writes and fails": 1}.get(self.fate.ends, 0)

    def reason(self) -> str:
        return self.fate.ends


@dataclass
class Player:
    """A launcher of runs that are played."""

    fates: dict[Path, Fate]
    jobs: int
    launched: list[Path] = field(default_factory=list)
    at_work: set[Path] = field(default_factory=set)

    def find(self, folder: Path) -> None:
        return None

    def launch(self, folder: Path) -> Played:
        assert json.loads((folder / "job.json").read_text()) == {"folder": folder.name}
        self.launched.append(folder)
        self.at_work.add(folder)
        assert len(self.at_work) <= self.jobs
        return Played(folder, self.fates[folder], self)

    def stop(self, handles: Sequence[Any]) -> None:
        assert {handle.folder for handle in handles} == self.at_work
        self.at_work.clear()


class Interrupted(KeyboardInterrupt):
    """Ctrl-C at a moment of the test's choice."""


def play(
    root: Path, fates: Sequence[Fate], order: Sequence[int], jobs: int, looks: int | None = None
) -> tuple[Schedule, Player]:
    """Runs a plan, interrupted after so many looks."""
    folders = [root / str(place) for place in range(len(fates))]
    tasks = [
        Task(
            "arm",
            place,
            folders[place],
            lambda place=place: {"folder": str(place)},  # type: ignore[misc]
            None if (after := fates[place].after) is None else folders[after],
        )
        for place in order
    ]
    player = Player(dict(zip(folders, fates, strict=True)), jobs)
    schedule = Schedule(tasks, jobs, lambda _: None, player)
    naps = 0

    def nap(seconds: float) -> None:
        nonlocal naps
        naps += 1
        assert naps < 200, "it never ends"
        if naps == looks:
            raise Interrupted

    with patch.object(module.time, "sleep", nap):
        try:
            schedule.run()
        except Interrupted:
            assert looks is not None
    return schedule, player


def settle(fates: Sequence[Fate]) -> list[Fate]:
    """Has a run need an earlier one alone, so that no two wait for each other."""
    return [
        Fate(
            fate.ends,
            fate.looks,
            fate.after if fate.after is not None and fate.after < place else None,
        )
        for place, fate in enumerate(fates)
    ]


CHAIN = [Fate("fails", 0), Fate("finishes", 0, after=0), Fate("finishes", 0, after=1)]


@example(CHAIN, 1, 1, random.Random(0))
@given(FATES, st.integers(1, 3), st.integers(1, 12), st.randoms(use_true_random=False))
def test_every_run_once_whatever_happens(
    fates: list[Fate], jobs: int, looks: int, draw: random.Random
) -> None:
    fates = settle(fates)
    order = draw.sample(range(len(fates)), len(fates))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        # what is written counts, whatever code the process that wrote it ended with
        _, player = play(root, fates, order, jobs, looks)
        assert len(player.launched) == len({*player.launched})
        done = {path.parent for path in root.glob("*/result.json")}
        second, again = play(root, fates, order, jobs)
        assert len(again.launched) == len({*again.launched})
        assert not done & {*again.launched}
        assert not again.at_work
        for place, fate in enumerate(fates):
            path = root / str(place)
            needed = None if fate.after is None else root / str(fate.after)
            states = [path in each for each in (second.results, second.failed, second.blocked)]
            assert sum(states) == 1
            if path in second.blocked:
                assert needed in second.failed or needed in second.blocked
                assert path not in again.launched
            elif path in done:
                assert path in second.results
            else:
                assert path in again.launched
                assert (path in second.results) == (fate.ends == "finishes")
        for place, path in enumerate(again.launched):
            needed = fates[int(path.name)].after
            if needed is not None and root / str(needed) in again.launched:
                assert again.launched.index(root / str(needed)) < place
