"""Kills commands by SIGKILL at moments that are drawn, and compares what they end with.

Each trial is a comparison, or a distillation, in a folder of its own: one run is killed with every
process that belongs to it, once or twice, and the same line is given again until it ends. It must
end with the bits of the same command that was never stopped: weights, optimiser, schedules,
queues, prototypes, counters, logged metrics, accuracies and tables. After every kill each file
that has its final name must be readable.
"""

import argparse
import json
import math
import os
import random
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from study.runner import code_commit

from reliability.commands import ARMS, COMPARE, DISTIL, Given
from reliability.equal import Comparison
from reliability.family import Family
from reliability.rows import Row, add_row, machine, read_rows
from reliability.strike import ALONE, ANY, KINDS, SOON, TWICE, WRITE, Strike, strike
from reliability.whole import find_torn
from solo_rekd.compare.arms import parse_arm
from solo_rekd.compare.plan import Run
from solo_rekd.distilling.embedding import TRAINING
from solo_rekd.utils.files import read_json, write_json

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results" / "reliability-kill.csv"
WORK = ROOT / "runs" / "reliability"
DISTILLED = "rekd frozen"  # what `distil` is asked to train
TRIALS = [ANY, WRITE, TWICE, ANY, WRITE, ALONE]
KEY = ("host", "command", "arm", "trial")
DRAWS = 20  # of a moment, where the command ended before the one that was drawn
LEFT_OUT = 6  # differences beyond so many


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add = parser.add_argument
    add("--host", default="classic", help="classic, main, or DIR of a checkout. Default: classic")
    add("--commands", nargs="+", choices=(COMPARE, DISTIL), default=[COMPARE, DISTIL])
    add("--arms", nargs="+", choices=ARMS, default=list(ARMS), help="of compare. Default: all")
    add(
        "--kinds",
        nargs="+",
        choices=KINDS,
        default=TRIALS,
        help="moments of the trials of each arm, in turn: any; write, while a checkpoint is "
        "written; twice, again soon after the run resumed; alone, so that what the command "
        f"started ends by itself. Default: {' '.join(TRIALS)}",
    )
    add("--seed", type=int, default=0, help="of the moments. Default: %(default)s")
    add("--budget", type=float, default=math.inf, metavar="MINUTES", help="Default: none")
    add("--work", type=Path, default=WORK, metavar="DIR", help="Default: %(default)s")
    add("--results", type=Path, default=RESULTS, metavar="FILE", help="Default: %(default)s")


def run(args: argparse.Namespace) -> int:
    """Does the trials that have no row yet; returns 1 where one of those asked for differed."""
    name = args.host if args.host in ("classic", "main") else "main"
    given = Given(args.host, args.work.resolve() / name)
    given.make()
    end = time.monotonic() + 60 * args.budget
    asked = [
        (command, arm, trial)
        for trial in range(len(args.kinds))
        for command in args.commands
        for arm in (args.arms if command == COMPARE else [DISTILLED])
    ]
    for command, arm, trial in asked:
        of = dict(zip(KEY, (name, command, arm, str(trial)), strict=True))
        if any(of.items() <= row.items() for row in read_rows(args.results)):
            continue
        if time.monotonic() > end:
            print("the time is over: the same command resumes", flush=True)
            break
        whole = Whole(given, command, args.arms)
        whole.make()
        rng = random.Random(f"{args.seed} {of}")
        row = of | Trial(whole, arm, kind_of(arm, trial, args.kinds), rng).run()
        add_row(args.results, row)
        print(", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    rows = [row for row in read_rows(args.results) if row["host"] == name]
    keys = [(command, arm, str(trial)) for command, arm, trial in asked]
    done = [row for row in rows if tuple(row[key] for key in KEY[1:]) in keys]
    return int(any(row["equal"] != "yes" for row in done))


def kind_of(arm: str, trial: int, kinds: Sequence[str]) -> str:
    """The moment of a trial; the arms begin at different ones, so that few trials have all."""
    return kinds[(trial + list(ARMS).index(arm)) % len(kinds)]


@dataclass(frozen=True)
class Whole:
    """A command that is never stopped.

    Attributes:
        given: what it is given.
        command: `compare` or `distil`.
        arms: of the comparison.
    """

    given: Given
    command: str
    arms: Sequence[str]

    @property
    def folder(self) -> Path:
        """Where it works."""
        return self.given.folder / self.command / "whole"

    @property
    def known(self) -> Path:
        """The file that says what it did and what it took, written when it has ended."""
        return self.folder.with_name("whole.json")

    def make(self) -> None:
        """Runs it, unless that was done; a comparison adds the arms that it does not have.

        Raises:
            SystemExit: it failed.
        """
        known = read_json(self.known)
        if known and known["arms"] == list(self.arms):
            return
        if known is None:
            shutil.rmtree(self.folder, ignore_errors=True)
        began = time.time()
        family = self.start(self.folder)
        if code := family.process.wait():
            raise SystemExit(f"the command failed with {code}: see {log_of(self.folder)}")
        jobs = [_age(path) - began for path in self.folder.glob("runs/*/*/job.json")]
        start = min((age for age in jobs if age > 0), default=family.seconds)
        write_json(self.known, {"arms": list(self.arms), "start": start})

    def start(self, out: Path) -> Family:
        """Starts the same command, or starts it again, in a folder."""
        out.parent.mkdir(parents=True, exist_ok=True)
        words = self.given.words(self.command, out, self.arms)
        return Family(words, log_of(out), self.given.environment)

    def seconds(self, arm: str) -> float:
        """About what the command takes where one arm alone is not finished."""
        start = json.loads(self.known.read_text())["start"]
        if self.command == DISTIL:
            return start
        run = self.folder / run_folder(arm)
        return start + _age(run / "result.json") - _age(run / "job.json")

    def begin(self, out: Path, arm: str) -> list[str]:
        """Makes the folder of a trial, in which all but one arm is finished.

        Returns:
            The folders of the finished runs.
        """
        shutil.rmtree(out, ignore_errors=True)
        if self.command == DISTIL:
            return []
        done = [path.parent for path in self.folder.glob("runs/*/*/result.json")]
        names = [str(path.relative_to(self.folder)) for path in done]
        names = [name for name in names if name != run_folder(arm)]
        for name in names:
            # every file is replaced and none changed, so that the two may be one
            shutil.copytree(self.folder / name, out / name, copy_function=os.link)
        return names


def run_folder(arm: str) -> str:
    """The folder of an arm's run in that of a comparison."""
    return Run(parse_arm(ARMS[arm]), 0).folder


def log_of(out: Path) -> Path:
    """The file with what the command in a folder has printed."""
    return out.with_name(f"{out.name}.log")


def _age(path: Path) -> float:
    return path.stat().st_mtime


class Trial:
    """A command that is killed, and given again until it ends.

    Args:
        whole: the same without a stop.
        arm: whose run is killed.
        kind: of `KINDS`.
        rng: draws the moments.
    """

    def __init__(self, whole: Whole, arm: str, kind: str, rng: random.Random) -> None:
        self.whole, self.arm, self.kind, self.rng = whole, arm, kind, rng
        self.out = whole.folder.with_name("killed")
        run = self.out / run_folder(arm) / "pretrain"
        self.checkpoints = run if whole.command == COMPARE else self.out / TRAINING

    def run(self) -> Row:
        """Does it; returns what is to be noted."""
        expected = self.whole.seconds(self.arm)
        for _ in range(DRAWS):
            kept = self.whole.begin(self.out, self.arm)
            log_of(self.out).unlink(missing_ok=True)
            strikes, found = self._strike(expected)
            if strikes is not None:
                break
        else:
            raise SystemExit(f"{self.arm} ended before each of {DRAWS} moments that were drawn")
        again = self.whole.start(self.out)
        if code := again.process.wait():
            found.append(f"the command given again ended with {code}: {last_line(self.out)}")
        else:
            found += Comparison(self.whole.folder, self.out).differences(kept)
        more = [f"and {len(found) - LEFT_OUT} more"] if len(found) > LEFT_OUT else []
        return {
            "kind": self.kind,
            "seconds": _joined(f"{each.seconds:.1f}" for each in strikes),
            "share": _joined(f"{each.seconds / expected:.2f}" for each in strikes),
            "epochs": _joined(str(each.epochs) for each in strikes),
            "unfinished": _joined(str(each.unfinished) for each in strikes),
            "ended": _joined(f"{each.ended:.2f}" for each in strikes),
            "equal": "no" if found else "yes",
            "differs": "; ".join([*found[:LEFT_OUT], *more]),
            "commit": code_commit(),
            "machine": machine(),
        }

    def _strike(self, expected: float) -> tuple[list[Strike] | None, list[str]]:
        """Kills it; returns None for the kills where it ended before, and what was torn."""
        strikes, torn = [], []
        moments = [(self.kind, 1.0)] if self.kind != TWICE else [(ANY, 1.0), (ANY, SOON)]
        for kind, share in moments:
            family = self.whole.start(self.out)
            done = strike(family, kind, self.rng, share * expected, self.checkpoints)
            if done is None:
                return None, []
            strikes.append(done)
            torn += [f"torn after a kill: {line}" for line in find_torn(self.out)]
        return strikes, torn


def _joined(values: Iterable[str]) -> str:
    return "+".join(values)


def last_line(out: Path) -> str:
    """The last line that the command in a folder has printed."""
    lines = log_of(out).read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "nothing printed"
