"""Trains for an hour with comparisons beside it, and looks for what leaks.

A distillation (rekd, a frozen teacher, epochs of seconds, each with a checkpoint, held-out photos
and a line of history) trains until it is ended; beside it short comparisons run one after
the other. Memory, handles, threads, processes and temporary files are noted all along, and what
is left of them at the end.

Exit code: 0; 1: something was left, or the memory of the training grows.
"""

import argparse
import itertools
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import torch
from bench.noise import write_tree
from study.runner import SOLO_REKD, code_commit
from torchvision.models import resnet18

from reliability import soak_page, soak_rows
from reliability.process_tree import below, held_by, in_use, marked
from reliability.soak_rows import Left, Sample, Soak
from solo_rekd.compare.collect import cpu_model

ROOT = Path(__file__).parents[2]
SHARED_MEMORY = Path("/dev/shm")
MARK = "SOLO_REKD_SOAK"  # in the environment of all processes of a run
PATIENCE = 60.0  # seconds for a command to end
GRACE = 10.0  # seconds for the processes that it started
SIDE, IMAGES = 32, 24  # of a class


class Work:
    """The folder of a run, and the processes that it starts.

    Args:
        folder: where everything is written.
        host: that trains.
    """

    def __init__(self, folder: Path, host: str) -> None:
        self.folder, self.host = folder, host
        self.token = secrets.token_hex(8)
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True)
        write_tree(folder / "images", IMAGES, SIDE)
        torch.manual_seed(0)
        torch.save(resnet18(num_classes=10).state_dict(), folder / "teacher.pth")

    def start(self, log: str, *words: str) -> subprocess.Popen[bytes]:
        """Starts a command of `solo-rekd`; its output goes to a file of the folder."""
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        env = {"OMP_NUM_THREADS": "1", **os.environ, MARK: self.token, "PYTHONPATH": path}
        with (self.folder / log).open("wb") as file:
            return subprocess.Popen(
                [*SOLO_REKD, *words, "--host", self.host],
                cwd=self.folder,
                env=env | {"TMPDIR": str(self.temporary)},
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def distil(self) -> subprocess.Popen[bytes]:
        """Starts the training that is looked at."""
        words = (
            "--epochs 1000000 --batch_size 32 --workers 1 --crop_size 32 --teacher resnet18 "
            "--teacher_size 32 --drawn_views 0"
        )
        files = ["--teacher_checkpoint", "teacher.pth", "--out", "distil"]
        return self.start("distil.txt", "distil", "images/train", *files, *words.split())

    def compare(self, number: int) -> subprocess.Popen[bytes]:
        """Starts a comparison in a folder of its own, in place of the last one's."""
        shutil.rmtree(self.folder / "compare", ignore_errors=True)
        words = (
            "--methods rekd+proj_output_dim=512,simclr --epochs 2 --linear_epochs 1 "
            "--batch_size 16 --num_workers 1 "
            f"--teacher resnet18 --teacher_checkpoint teacher.pth --first_seed {number}"
        )
        folders = ["--data", "images", "--out", "compare"]
        return self.start("compare.txt", "compare", *folders, *words.split())

    def epochs(self) -> int:
        """How many epochs of the training are over."""
        history = self.folder / "distil" / "history.jsonl"
        return max(0, history.read_bytes().count(b"\n") - 1) if history.exists() else 0

    def files(self) -> int:
        """Files in the folder for temporary ones."""
        return sum(path.is_file() for path in self.temporary.rglob("*"))


def shared() -> set[Path]:
    """Files in shared memory, of all processes of this machine."""
    return set(SHARED_MEMORY.iterdir()) if SHARED_MEMORY.is_dir() else set()


def look(work: Work, training: int, seconds: float, comparisons: int, before: set[Path]) -> Sample:
    """Notes what the training and everything beside it hold now."""
    ours = marked(MARK, work.token)
    children = below(training, ours)
    own = held_by(training)
    started = [held for pid in children if (held := held_by(pid))]
    beside = [held for pid in ours - children - {training} if (held := held_by(pid))]
    return Sample(
        host=work.host,
        seconds=round(seconds),
        epochs=work.epochs(),
        comparisons=comparisons,
        memory=own.memory if own else 0,
        memory_of_children=sum(held.memory for held in started),
        memory_beside=sum(held.memory for held in beside),
        handles=own.handles if own else 0,
        threads=own.threads if own else 0,
        children=len(started),
        processes=len(ours),
        temporary=work.files(),
        shared=len(shared() - before),
    )


def soak(
    work: Work, seconds: float, every: float, note: Callable[[Sample], None]
) -> tuple[Left, list[str]]:
    """Runs the training and the comparisons.

    Args:
        work: the folder of the run.
        seconds: that it lasts.
        every: seconds between two looks.
        note: takes what each look found.

    Returns:
        What is left when all has ended, and what went wrong.
    """
    before, faults, started = shared(), [], time.monotonic()
    training, beside = work.distil(), work.compare(0)
    comparisons = 0
    try:
        for number in itertools.count(1):
            time.sleep(max(0.0, started + number * every - time.monotonic()))
            passed = time.monotonic() - started
            if training.poll() is not None:
                faults.append("the training ended by itself: see distil.txt")
                break
            if beside.poll() is not None:
                if beside.returncode:  # which `stop` reports
                    break
                comparisons += 1
                beside = work.compare(comparisons)
            note(look(work, training.pid, passed, comparisons, before))
            if passed >= seconds:
                break
    finally:
        for process in (training, beside):
            faults += stop(process)
    new = shared() - before
    return Left(remaining(work), work.files(), len(new - in_use(new))), faults


def stop(process: subprocess.Popen[bytes]) -> list[str]:
    """Ends a command as `kill` does, and waits for it; returns what goes wrong.

    Not by Ctrl-C's signal, which what runs in the background of a script ignores.
    """
    if process.poll() is not None:
        return [] if process.returncode == 0 else [f"a process ended with {process.returncode}"]
    process.terminate()
    try:
        code = process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return [f"a process did not end in {PATIENCE:.0f} s after SIGTERM"]
    return [] if code == 130 else [f"a process ended with {code} after SIGTERM, expected 130"]


def remaining(work: Work) -> int:
    """Processes that are there once those that know of their end have had time for it."""
    deadline = time.monotonic() + GRACE
    while (pids := marked(MARK, work.token)) and time.monotonic() < deadline:
        time.sleep(0.5)
    return len(pids)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    add = parser.add_argument
    add("--minutes", type=float, default=60, metavar="N", help="Default: %(default)s")
    add("--every", type=float, default=10, metavar="SECONDS", help="Default: %(default)s")
    add("--host", default="classic", help="classic, main or a checkout. Default: %(default)s")
    add("--work", type=Path, default=Path("runs/soak"), help="a new folder. Default: %(default)s")
    add("--results", type=Path, default=soak_rows.RESULTS, metavar="DIR", help="of what is found")


def run(args: argparse.Namespace) -> int:
    """Trains, writes what was found, and says it; 1 where something leaks or is left."""
    if args.work.exists() and any(args.work.iterdir()):
        raise SystemExit(f"--work {args.work} is not empty: remove it, or give another folder")
    work = Work(args.work.resolve(), args.host)
    samples: list[Sample] = []

    def note(sample: Sample) -> None:
        samples.append(sample)
        print(soak_rows.line(sample), flush=True)

    left, faults = soak(work, 60 * args.minutes, args.every, note)
    made = Soak(args.host, code_commit(), cpu_model(), os.cpu_count() or 1, left, tuple(faults))
    soak_rows.keep(args.results, made, samples)
    faults += soak_page.judge(samples, left)
    print("\n".join([soak_page.sentence(samples, left), *faults]))
    if not faults:
        shutil.rmtree(args.work)
    return int(bool(faults))
