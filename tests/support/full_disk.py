"""Commands on a disk that is full: no file may grow beyond a limit of this process."""

import resource
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mistakes import ERROR, contents, read_bases

LIMIT = 20_000  # bytes: settings and tables fit, weights and features do not
# what the system says then; of a full disk it says `No space left on device`
FULL = "File too large"
DISTIL = " --epochs 1 --workers 0 --batch_size 8 --crop_size 32"


def words(name: str) -> list[str]:
    """The command line that `mistakes.yaml` has for a command."""
    return shlex.split(read_bases()[name] + DISTIL * (name == "distil"))


@contextmanager
def full_disk() -> Iterator[None]:
    """Lets no file grow beyond `LIMIT` in the block."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def check_nothing_is_left(
    name: str,
    ready: Path,
    folder: Path,
    solo: Callable[..., tuple[int, str, str]],
    patch: pytest.MonkeyPatch,
) -> None:
    """Runs a command on a full disk, and sees what is said and left.

    Args:
        name: of the command.
        ready: a folder of `make_ready`.
        folder: gets a copy of it.
        solo: runs a command line: exit code, standard output, standard error.
        patch: of the test.
    """
    shutil.copytree(ready, folder)
    patch.chdir(folder)
    before = contents(folder)
    with full_disk():
        code, _, said = solo(*words(name))
    last = said.splitlines()[-1]
    assert (code, last.startswith(ERROR), last.endswith(FULL)) == (2, True, True), said
    changed = contents(folder).keys() ^ before.keys()
    assert not changed, changed
