"""Imports modules in a separate process, so that a broken one becomes a finding."""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from solo_rekd.commands.doctor.probe import SIGN

PROBE = Path(__file__).with_name("probe.py")
PATIENCE = 900  # seconds for all of them; a busy machine may take minutes


class Imported(NamedTuple):
    """The outcome of importing modules.

    Attributes:
        modules: by name: `error`, or `version` and what `probe.try_out` returns.
        stderr: what the imports wrote to stderr.
    """

    modules: dict[str, dict[str, Any]]
    stderr: str


def import_all(
    names: Sequence[str], path: Sequence[str] | None = None, folder: Path | None = None
) -> Imported:
    """Imports modules as this Python would.

    Args:
        names: names of the modules, in this order.
        path: folders to find them in; None: those of this process.
        folder: current folder of the new process; None: that of this one.
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
            ended = f"not finished after {PATIENCE} s"
        except OSError as error:
            out, ended = "", f"a process cannot be started: {error}"
        for line in out.splitlines():
            if line.startswith(SIGN):
                name, facts = json.loads(line.removeprefix(SIGN))
                found[name] = facts or {"error": f"its import ends Python: {ended}"}
        if left[0] not in found:  # no import was even begun
            found |= {name: {"error": ended} for name in left}
        left = [name for name in left if name not in found]
    return Imported(found, said)


def python_flags() -> list[str]:
    """Returns this Python's flags that decide what it imports."""
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
