"""Modules as they are imported in a process of its own, so that a broken one is a finding."""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from solo_rekd.commands.doctor.probe import SIGN

PROBE = Path(__file__).with_name("probe.py")
PATIENCE = 900  # s for all of them; a busy machine may take minutes


class Imported(NamedTuple):
    """What became of the modules.

    Attributes:
        modules: by name: `error`, or `version` and what `probe.try_out` says.
        stderr: what was said there.
    """

    modules: dict[str, dict[str, Any]]
    stderr: str


def import_all(
    names: Sequence[str], path: Sequence[str] | None = None, folder: Path | None = None
) -> Imported:
    """Imports modules as this Python would.

    Args:
        names: of the modules, in this order.
        path: folders to find them in; None: those of this process.
        folder: the current folder of the process; None: that of this one.
    """
    found: dict[str, dict[str, Any]] = {}
    said = ""
    left = [*names]
    while left:
        given = json.dumps([[*(sys.path if path is None else path)], left])
        command = [sys.executable, *python_flags(), str(PROBE), given]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=PATIENCE,
                cwd=folder,
                stdin=subprocess.DEVNULL,
            )
            out, ended = done.stdout, _ended(done.returncode)
            said += done.stderr
        except subprocess.TimeoutExpired as error:
            raw = error.stdout or b""
            out = raw.decode(errors="replace") if isinstance(raw, bytes) else raw
            ended = f"no end after {PATIENCE} s"
        except OSError as error:
            out, ended = "", f"no process can be started: {error}"
        for line in out.splitlines():
            if line.startswith(SIGN):
                name, facts = json.loads(line.removeprefix(SIGN))
                found[name] = facts or {"error": f"its import ends Python: {ended}"}
        if left[0] not in found:  # not even a module was begun
            found |= {name: {"error": ended} for name in left}
        left = [name for name in left if name not in found]
    return Imported(found, said)


def python_flags() -> list[str]:
    """The flags with which this Python runs, of those that decide what it imports."""
    flags = {"-I": sys.flags.isolated, "-E": sys.flags.ignore_environment}
    flags |= {"-s": sys.flags.no_user_site, "-S": sys.flags.no_site}
    return [flag for flag, given in flags.items() if given]


def _ended(code: int) -> str:
    if code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    return f"exit code {code}"
