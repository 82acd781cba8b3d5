"""Runs a phase of the study, a run after the other, each by `solo-rekd compare`."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solo_rekd.compare.arms import LR, UNTRAINED, parse_arm
from solo_rekd.compare.plan import Run
from solo_rekd.compare.schedule import ENDING
from study.plan import RATES, Plan
from study.prepare import prepare_images, prepare_teacher
from study.rates import asked_rates, best_rate, found_rates
from study.rows import Row, add_rows, collect, read_rows

ROOT = Path(__file__).parents[2]
SOLO_REKD = (sys.executable, "-c", "from solo_rekd.cli import main; main()")
COMPARE = (*SOLO_REKD, "compare")
STOPPING = (signal.SIGINT, *ENDING)
POLL = 0.5  # seconds
PATIENCE = 60.0  # seconds that a comparison may take to end its runs


@dataclass(frozen=True)
class Chosen:
    """What of the study is to be run.

    Attributes:
        phase: one of the plan's.
        datasets: the same for all that follow, in their order.
        students: what is trained.
        teachers: those that teach.
        arms: names of arms.
        seeds: at most so many, the first ones of the plan; None: all.
    """

    phase: str
    datasets: Sequence[str]
    students: Sequence[str]
    teachers: Sequence[str]
    arms: Sequence[str]
    seeds: int | None = None


@dataclass(frozen=True)
class Place:
    """A folder of `solo-rekd compare`: runs of one student on one data set by one teacher."""

    phase: str
    dataset: str
    student: str
    teacher: str

    def folder(self, work: Path) -> Path:
        """Where it lies in the folder of the study."""
        return work / self.phase / self.teacher / self.dataset / self.student


class Study:
    """The runs of one phase, what is known of them, and where all of it lies.

    Args:
        plan: the study.
        chosen: what of it is to be run.
        work: its folder: images, teachers and comparisons.
        results: folder of the CSV files.
        sources: folders of images, see `prepare_images`.
        files: of teachers, see `prepare_teacher`.
        jobs: runs side by side.
    """

    def __init__(
        self,
        plan: Plan,
        chosen: Chosen,
        work: Path,
        results: Path,
        sources: Mapping[str, Path],
        files: Mapping[str, Path],
        jobs: int = 1,
    ) -> None:
        self.plan, self.chosen, self.work, self.jobs = plan, chosen, work.resolve(), jobs
        self.results, self.sources, self.files = results, sources, files
        self.path = results / f"{chosen.phase}.csv"
        self.failed: list[str] = []
        self.said: set[str] = set()

    def run(self, end: float = math.inf) -> bool:
        """Runs what has no line yet, and begins no other run after `end`, of time.monotonic().

        Returns:
            Whether there was time for all.
        """
        for place in self.places():
            self.note(place)
        for place, seed, names in self.steps():
            if time.monotonic() > end:
                say("the time is over: the same command resumes")
                return False
            self.compare(place, seed, names)
        return True

    def places(self) -> list[Place]:
        """Every folder, that of the first student on every data set first."""
        chosen, followed = self.chosen, self.plan.rates_of
        students = {(data, teacher): names for data, teacher, names in self.plan.places()}
        places = [
            Place(chosen.phase, dataset, student, teacher)
            for teacher in chosen.teachers
            for student in chosen.students
            for dataset in chosen.datasets
            if student in students.get((dataset, teacher), ())
        ]
        if chosen.phase != RATES:
            return places
        own = [("datasets", "dataset"), ("students", "student")]
        return [
            place
            for place in places
            if all(
                followed(kind, getattr(place, name)) == getattr(place, name) for kind, name in own
            )
        ]

    def steps(self) -> Iterator[tuple[Place, int, list[str]]]:
        """What is to be run: names of arms, a seed, and where; seed by seed, as the plan has it."""
        planned = range(self.plan.content["phases"][self.chosen.phase]["seeds"])
        for seed in planned[: self.chosen.seeds]:
            for place in self.places():
                if self.chosen.phase == RATES:
                    yield from self.sweeps(place, seed)
                    continue
                waiting = [name for name in self.arms() if self.waits(place, seed, name)]
                for first in range(0, len(waiting), self.jobs):
                    yield place, seed, waiting[first : first + self.jobs]

    def sweeps(self, place: Place, seed: int) -> Iterator[tuple[Place, int, list[str]]]:
        """The steps of a sweep: an arm is run again for as long as it asks for further rates."""
        for name in self.arms():
            asked: list[str] = []
            while (found := self.waits(place, seed, name)) and found != asked:
                asked = found
                yield place, seed, [name]

    def arms(self) -> list[str]:
        """Names of the arms that are chosen; of a sweep those that take no other's rate."""
        arms = [self.plan.arms[name] for name in self.chosen.arms]
        return [each.name for each in arms if self.chosen.phase != RATES or each.is_swept]

    def waits(self, place: Place, seed: int, name: str) -> list[str]:
        """What of an arm, as compare reads it, has no line yet; what cannot be run is said."""
        texts = self.texts(place, name)
        if texts is None:
            line = (
                f"{place.dataset} {place.student} {name}: its learning rate is not swept, not run"
            )
            if line not in self.said:
                say(line)
            self.said.add(line)
            return []
        options = self.options(place)
        known = {
            (row["lr"], row["teacher"])
            for row in read_rows(self.path)
            if (row["dataset"], row["student"]) == (place.dataset, place.student)
            and (row["arm"], row["seed"]) == (name, str(seed))
            and row["epochs"] == str(options["epochs"])
        }
        waiting = []
        for text in texts:
            arm = parse_arm(text)
            lr = "" if arm.method == UNTRAINED else f"{arm.lr or options[LR]:g}"
            if (lr, place.teacher if arm.distils else "") not in known:
                waiting.append(text)
        return waiting

    def texts(self, place: Place, name: str) -> list[str] | None:
        """An arm as compare reads it, in a sweep once a rate; None: its rate is not known yet."""
        arm = self.plan.arms[name]
        teacher = str(self.teacher(place))
        text = arm.text.format(teacher=teacher)
        rows = read_rows(self.results / f"{RATES}.csv")
        if place.phase == RATES:
            found = found_rates(rows, place.dataset, place.student, name, place.teacher)
            return [f"{text}+{LR}={rate}" for rate in asked_rates(arm.rates, found)] or [text]
        rate = best_rate(self.plan, rows, place.dataset, place.student, name, place.teacher)
        if rate is None:
            return None
        return [f"{text}+{LR}={rate}" if rate else text]

    def teacher(self, place: Place) -> Path:
        """The teacher's file."""
        return prepare_teacher(self.plan, place.teacher, place.dataset, self.files, self.work)

    def options(self, place: Place) -> dict[str, Any]:
        """The options of the comparison."""
        return self.plan.options(place.dataset, place.student, place.teacher, place.phase)

    def compare(self, place: Place, seed: int, names: Sequence[str]) -> None:
        """Runs some arms, notes what came of them, and says it."""
        texts = [text for name in names for text in self.waits(place, seed, name)]
        folder = place.folder(self.work)
        folder.mkdir(parents=True, exist_ok=True)
        done = [text for text in self.all_texts(place) if finished(folder, text, seed)]
        options = self.options(place) | {
            "data": self.work / "data" / place.dataset,
            "val_dir": self.plan.content["phases"][place.phase]["split"],
            "student": place.student,
            "teacher_checkpoint": self.teacher(place),
            "methods": ",".join(dict.fromkeys([*done, *texts])),
            "first_seed": seed,
            "seeds": 1,
            "jobs": self.jobs,
            "out": folder,
        }
        words = [*COMPARE, *to_words(options), "--", *self.plan.content.get("flags", [])]
        began = time.monotonic()
        with (folder / "log.txt").open("a") as log:
            code = call(words, log)
        what = f"{place.phase} {place.dataset} {place.student} seed {seed} {', '.join(names)}"
        took = f"{(time.monotonic() - began) / 60:.1f} min"
        rows = self.note(place)
        if code:
            self.failed.append(what)
            say(f"{what}: exit {code} after {took}, see {folder / 'log.txt'}")
        for row in rows:
            if row["arm"] in names and row["seed"] == str(seed):
                figures = f"linear {row['linear_cached']}, kNN {row['knn']}"
                say(
                    f"{what}: {figures}"
                    + (f" at lr {row['lr']}" if row["lr"] else "")
                    + f", {took}"
                )

    def all_texts(self, place: Place) -> list[str]:
        """Every arm of the plan as compare reads it, where its learning rate is known."""
        return [text for name in self.plan.arms for text in self.texts(place, name) or ()]

    def note(self, place: Place) -> list[Row]:
        """Adds the runs of a folder to the CSV file; returns what it read."""
        folder = place.folder(self.work)
        if not (folder / "comparison.json").exists():
            return []
        teacher = str(self.teacher(place))
        names = {arm.text.format(teacher=teacher): name for name, arm in self.plan.arms.items()}
        rows = collect(folder, code_commit(), names, place.dataset, place.teacher)
        for line in add_rows(self.path, rows):
            say(line)
        return rows

    def prepare(self) -> None:
        """Makes the images and the teachers that are not there yet."""
        for place in self.places():
            prepare_images(self.plan, place.dataset, self.sources, self.work)
            self.teacher(place)


def finished(folder: Path, text: str, seed: int) -> bool:
    """Whether an arm has a result of this seed."""
    return (folder / Run(parse_arm(text), seed).folder / "result.json").exists()


def to_words(options: Mapping[str, Any]) -> list[str]:
    """Options as words of a command line; a list is as many words."""
    words = []
    for name, value in options.items():
        values = value if isinstance(value, list) else [value]
        words += [f"--{name}", *map(str, values)]
    return words


def call(words: Sequence[str], log: Any) -> int:
    """Runs a command, with one thread unless OMP_NUM_THREADS says otherwise; ends it with this one.

    Raises:
        KeyboardInterrupt: this program was told to stop, and the command has ended.
    """
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    with noted(STOPPING) as stops:  # a signal while the process begins must find it, too
        process = subprocess.Popen(
            words, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        while not stops:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(POLL)
        # SIGINT would be ignored by what a shell or a script has put in the background
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()  # the runs of a comparison end with it
            process.wait()
    raise KeyboardInterrupt


@contextmanager
def noted(numbers: Sequence[int]) -> Iterator[list[int]]:
    """Notes signals in the list that it gives; those that are ignored stay so."""
    found: list[int] = []
    handlers = {number: signal.getsignal(number) for number in numbers}
    previous = {n: handler for n, handler in handlers.items() if handler is not signal.SIG_IGN}
    for number in previous:
        signal.signal(number, lambda told, _: found.append(told))
    try:
        yield found
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def code_commit() -> str:
    """The last commit that changed the package, with a plus where it has changes since."""

    def git(*words: str) -> str:
        found = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
        return found.stdout.strip()

    commit = git("log", "-1", "--format=%h", "--", "solo_rekd")
    return commit + ("+" if git("status", "--porcelain", "--", "solo_rekd") else "")


def say(text: str) -> None:
    """Prints a line at once."""
    print(text, flush=True)
