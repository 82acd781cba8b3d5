"""A process that leaves at once, and what it does before."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import is_alive

PROGRAM = """
import atexit, sys, threading, time
from solo_rekd.utils.leaving import QuickExit
leave = QuickExit()
assert not {"torch", "numpy"} & set(sys.modules)  # it comes before what has handlers of its own
path = sys.argv[1]

class Slow:
    def __del__(self):
        print("taken apart")

slow = Slow()
slow.itself = slow  # not freed before the interpreter ends
atexit.register(lambda: open(path, "a").write("handler "))
def work():
    time.sleep(0.3)
    open(path, "a").write("thread ")
threading.Thread(target=work).start()
sys.stdout.write("unflushed")
"""


def run(end: str, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM + end, str(path)], capture_output=True, text=True, timeout=60
    )


@pytest.mark.parametrize("status", [0, 1, 2])
def test_threads_and_handlers_come_first_and_nothing_is_taken_apart(
    status: int, tmp_path: Path
) -> None:
    done = run(f"leave({status})", tmp_path / "told")
    assert (done.returncode, done.stdout, done.stderr) == (status, "unflushed", "")
    assert (tmp_path / "told").read_text() == "thread handler "


# starts a process that ends with it, and dies without a word
ORPHAN = """
import os, subprocess, sys, time
child = "import os, sys, time; from solo_rekd.utils.leaving import end_with; "
child += "end_with(int(sys.argv[1])); open(sys.argv[2], 'w').write(str(os.getpid())); "
child += "time.sleep(60)"
words = [sys.executable, "-c", child, str(os.getpid()), path := sys.argv[1]]
subprocess.Popen(words, start_new_session=True)
while not (os.path.exists(path) and open(path).read()):
    time.sleep(0.01)
os.kill(os.getpid(), 9)
"""


def test_a_process_ends_with_its_parent(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", ORPHAN, str(tmp_path / "pid")], timeout=60)
    child, gone = int((tmp_path / "pid").read_text()), time.monotonic()
    while is_alive(child):
        assert time.monotonic() - gone < 10  # it looks twice a second
        time.sleep(0.05)


def test_an_error_is_told_as_ever(tmp_path: Path) -> None:
    done = run("1 / 0", tmp_path / "told")
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr
    assert (tmp_path / "told").read_text() == "thread handler "
