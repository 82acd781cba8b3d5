"""Runs scripts in copies of a process that has the large libraries loaded already.

They take two thirds of a tiny run. The copy has no module of a host, of the plug-in or of its Hydra
part, and the plug-in's start-up hook waits in it as in any process that Python starts.
"""

import json
import os
import random
import runpy
import subprocess
import sys
import time
from pathlib import Path
from typing import Any


class Warm:
    """The process that is copied; it ends with the tests.

    Attributes:
        path: PYTHONPATH when it started. A copy reads no other, nor a start-up module in it.
    """

    def __init__(self) -> None:
        self.path = os.environ.get("PYTHONPATH")
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(
        self,
        script: Path,
        argv: list[str],
        env: dict[str, str],
        cwd: Path,
        seconds: float,
        hook: bool = True,
    ) -> "subprocess.CompletedProcess[str]":
        """Runs a script.

        Args:
            script: its file.
            argv: its words.
            env: the environment.
            cwd: the folder in which it runs.
            seconds: after which it is killed.
            hook: whether the plug-in's start-up hook is there.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        logs = [cwd.with_name(f"{cwd.name}-{os.urandom(4).hex()}.{end}") for end in ("out", "err")]
        request = {
            **{"script": str(script), "argv": argv, "env": env, "cwd": str(cwd), "hook": hook},
            **{"logs": [*map(str, logs)], "seconds": seconds},
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        out, err = (log.read_text() for log in logs)
        return subprocess.CompletedProcess([str(script), *argv], code, out, err)

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve() -> dict[str, Any] | None:
    """Answers requests with exit codes; returns a request in the copy that is to meet it."""
    import lightning.pytorch  # noqa: F401
    import timm  # noqa: F401

    for line in sys.stdin:
        request = json.loads(line)
        copy = os.fork()
        if copy == 0:
            return request
        print(wait(copy, request["seconds"]), flush=True)
    return None


def wait(copy: int, seconds: float) -> int:
    """The exit code of a copy, which is killed when its time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pid, status = os.waitpid(copy, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(copy, 9)
    return os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])


def become(request: dict[str, Any]) -> None:
    """Runs the script of a request in this process as Python would."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    for number, log in enumerate([os.devnull, *request["logs"]]):
        file = os.open(log, os.O_RDWR | os.O_CREAT)
        os.dup2(file, number)
        os.close(file)
    random.seed()  # names of runs are drawn from it
    if not request["hook"]:
        sys.meta_path = [each for each in sys.meta_path if type(each).__name__ != "HostWatcher"]
    sys.argv = [request["script"], *request["argv"]]
    sys.path[0] = str(Path(request["script"]).parent)
    runpy.run_path(request["script"], run_name="__main__")


if __name__ == "__main__" and (request := serve()) is not None:
    become(request)
