"""A distillation from photos to deployment: `distil`, as the command runs it."""

import dataclasses
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solo_rekd import hosts
from solo_rekd.compare.schedule import print_line
from solo_rekd.distilling import outputs, trial
from solo_rekd.distilling.choices import Choice, choose, refuse_impossible
from solo_rekd.distilling.embedding import TRAINING
from solo_rekd.distilling.facts import TeacherFile, find_facts, read_teacher, usual_side
from solo_rekd.distilling.job import make_job
from solo_rekd.distilling.outputs import Outputs
from solo_rekd.distilling.plan import Plan, read_plan, refuse_other
from solo_rekd.distilling.request import STUDENT, TEACHER, Request, make_request
from solo_rekd.distilling.show import epoch_line, table_lines
from solo_rekd.distilling.signal import signal_of, watched
from solo_rekd.evaluation.health import judge
from solo_rekd.hosts.jobs import Host, Pretraining, Progress
from solo_rekd.hosts.shared.saved import (
    CHECKPOINTS,
    epoch_of,
    newest_first,
    newest_whole,
    remove_others,
)
from solo_rekd.images.data_sets import LARGE_IMAGE
from solo_rekd.images.photos import PhotoIndex, build_index
from solo_rekd.images.photos.index import holds_index_alone
from solo_rekd.utils.errors import UserError, refuse
from solo_rekd.utils.files import UNFINISHED, read_json_lines, remove_unfinished
from solo_rekd.utils.locks import LOCK, locked

HISTORY, PHOTOS = "history.jsonl", "photos"
HELD_OUT, SHARE = 1000, 10  # held-out photos: at most 1000, and one in 10
FEWEST = 4  # photos, at least

Paths = str | Path | Sequence[str | Path]


@dataclass(frozen=True)
class Distilled:
    """The result of a distillation.

    Attributes:
        out: folder of the run.
        checkpoint: checkpoint of the last epoch.
        files: files that were made, by name.
        figures: figures on the held-out photos, see the model card.
        findings: what is wrong with the run, one line each.
    """

    out: Path
    checkpoint: Path
    files: dict[str, Path]
    figures: dict[str, float]
    findings: list[str]


def distil(
    photos: Paths,
    student: str = STUDENT,
    teacher: str = TEACHER,
    *,
    teacher_checkpoint: str | Path,
    out: str | Path,
    **options: Any,
) -> Distilled:
    """Distils a teacher into a small network on photos without labels, as `solo-rekd distil` does.

    The same call resumes an interrupted run, and makes the missing files of a finished one.

    Args:
        photos: a folder with photos at any depth, a `.txt` file with one path per line, or several.
        student: name of the backbone to train (`solo-rekd list`).
        teacher: name of the teacher's backbone.
        teacher_checkpoint: file of its weights, in any format of `solo-rekd list`.
        out: folder of the run.
        options: other fields of `Request`: student_checkpoint, method, crop_size [px],
            teacher_size [px], batch_size, epochs or hours, lr (for a batch of 256), queue_size
            [keys], device, precision, memory_format, workers, drawn_views, seed, host, int8,
            against, settings of the method by name, host_words. Those left out are chosen.

    Returns:
        The files and figures of the run.

    Raises:
        UserError: an option is not allowed, a file cannot be read, the folder holds another run, or
            the training diverged.
        KeyboardInterrupt: it was interrupted; the files already written are complete.
    """
    several = [photos] if isinstance(photos, str | Path) else [*photos]
    given = {"teacher_checkpoint": str(teacher_checkpoint), "out": str(out)}
    named = {"photos": tuple(map(str, several)), "student": student, "teacher": teacher}
    return run(make_request(**named, **given, **options))


def run(request: Request, say: Callable[[str], None] = print_line) -> Distilled:
    """Runs a distillation; see `distil`.

    Args:
        request: what is asked for.
        say: function that prints a line.
    """
    out = Path(request.out).resolve()
    for source in request.photos:
        if Path(source).is_dir() and out.is_relative_to(Path(source).resolve()):
            raise refuse("out", request.out, f"a folder outside {source}")
    _refuse_strange(out, request.out)
    made = outputs.wanted(request)
    for line in made.left_out:
        say(line)
    host = hosts.find(request.host)
    with locked(out, "distillation"), _nothing_left(out):
        remove_unfinished(out)
        started = Started(request, host, out, say)
        plan, job = started.plan, started.job
        checkpoint = _train(job, host, out, started.held_out, say)
        lines = read_json_lines(out / HISTORY)
        found = [finding.message for finding in judge(lines)]
        results = Outputs(request, plan, job, checkpoint, started.held_out, lines, found, out)
        files = results.make(made, say)
        for line in found:
            say(line)
        return Distilled(out, checkpoint, files, results.known_figures, found)


def _refuse_strange(out: Path, given: str) -> None:
    """Refuses a folder that holds anything but a run, so that nothing in it is replaced.

    A run that was killed before it had a plan has left its lock and its index of photos.
    """
    if not out.exists() or read_plan(out) is not None:
        return
    names = {path.name for path in out.iterdir()} if out.is_dir() else {""}
    if LOCK in names and (PHOTOS not in names or holds_index_alone(out / PHOTOS)):
        names = {name for name in names - {PHOTOS} if not name.endswith(UNFINISHED)}
    if names - {LOCK}:
        raise refuse("out", given, "a new or empty folder, or that of an earlier distil run")


def begun(out: Path) -> Plan | None:
    """Returns the plan of a run that has a checkpoint; None: there is nothing to resume."""
    plan = read_plan(out)
    return plan if newest_first((out / TRAINING).glob(CHECKPOINTS)) else None


class Started:
    """A run with all its settings settled, and its plan in its folder.

    Args:
        request: what is asked for.
        host: host that trains.
        out: folder of the run.
        say: function that prints a line.

    Attributes:
        plan: plan of the run.
        job: job of the host.
        held_out: photos that are not trained on.
    """

    def __init__(self, request: Request, host: Host, out: Path, say: Callable[[str], None]) -> None:
        earlier = begun(out)
        side = request.crop_size or LARGE_IMAGE
        teacher = read_teacher(request.teacher, request.teacher_checkpoint, side)
        if earlier is not None:
            refuse_other(earlier, request.decisive, teacher.sha256, host.name, out)
            index = PhotoIndex(out / PHOTOS)
        else:
            index = build_index(request.photos, out / PHOTOS)
        if len(index) < FEWEST:
            raise UserError(f"there are {len(index)} photos: give {FEWEST} or more")
        number = max(1, min(HELD_OUT, len(index) // SHARE))
        self.held_out, training = index.split(number, request.seed)
        folder = str(training.folder)
        given = dataclasses.asdict(request)
        facts = find_facts(len(training), usual_side(training), request.student, teacher)
        facts = facts._replace(hours=request.hours)
        choices = choose(facts, given)
        if earlier is not None:
            choices = earlier.resumed(choices)
        refuse_impossible(facts, {choice.name: choice.value for choice in choices})
        self.job = make_job(request, choices, folder, teacher.width)
        host.check(self.job)
        if earlier is None and request.hours is not None:
            say(f"timing {trial.STEPS} steps for the budget of {request.hours:g} h")
            speed = trial.measure(host, self.job, signal_of(self.held_out))
            steps = max(1, len(training) // self.job.batch_size)
            fits = trial.affordable(speed, request.hours, steps)
            facts = facts._replace(affordable=fits, speed=speed.images_per_second)
            choices = choose(facts, given)
            self.job = make_job(request, choices, folder, teacher.width)
        say(
            f"{len(training):,} photos for training, {len(self.held_out):,} held out; "
            f"teacher {teacher.line}"
        )
        say("\n".join(table_lines(choices)))
        self.plan = earlier or _plan(request, choices, index, number, teacher, host)
        if earlier is None:
            self.plan.write(out)


def _plan(
    request: Request,
    choices: list[Choice],
    index: PhotoIndex,
    held_out: int,
    teacher: TeacherFile,
    host: Host,
) -> Plan:
    return Plan(
        asked=request.decisive,
        choices=choices,
        photos={
            "training": len(index) - held_out,
            "held_out": held_out,
            "left_out": dict(index.left_out),
        },
        teacher=dataclasses.asdict(teacher),
        host={"name": host.name, **host.versions()},
        command=shlex.join(command_of(request)),
    )


def command_of(request: Request) -> list[str]:
    """Returns the command line of a request."""
    words = ["solo-rekd", "distil", *request.photos]
    for option in dataclasses.fields(Request):
        value = getattr(request, option.name)
        if option.name in ("photos", "settings", "host_words") or value is None or value is False:
            continue
        required = option.name in ("student", "teacher", "teacher_checkpoint", "out")
        if required or value != option.default:
            words += [f"--{option.name}", *([] if value is True else [str(value)])]
    for name, value in request.settings.items():
        words += ["--set", f"{name}={value}"]
    return words + (["--", *request.host_words] if request.host_words else [])


def _train(
    job: Pretraining, host: Host, out: Path, held_out: PhotoIndex, say: Callable[[str], None]
) -> Path:
    """Trains or resumes if needed; returns the checkpoint of the last epoch."""
    folder, history = out / TRAINING, out / HISTORY
    newest = newest_whole(folder.glob(CHECKPOINTS))
    done = epoch_of(newest) + 1 if newest else 0
    if done >= job.epochs:
        say(f"the training is finished: {job.epochs} epochs")
    else:
        if newest is not None:
            say(f"resuming after epoch {done} of {job.epochs}")

        def tell(line: Mapping[str, Any]) -> None:
            say(epoch_line(line, job.epochs))

        title = f"{job.method} {job.network.name}"
        progress = Progress(title, history=history, epoch=tell, **watched(held_out))
        host.pretrain(job, folder, newest, progress)
        newest = newest_whole(folder.glob(CHECKPOINTS))
    if newest is None:
        raise UserError(f"{folder} holds no checkpoint after the training")
    remove_others(folder, newest)
    return newest


@contextmanager
def _nothing_left(out: Path) -> Iterator[None]:
    """Removes the files of a run that was refused before it had a plan; see also `locked`.

    Its folder was new or empty before, see `_refuse_strange`.
    """
    try:
        yield
    except BaseException:
        if read_plan(out) is None:
            shutil.rmtree(out / PHOTOS, ignore_errors=True)
        raise
