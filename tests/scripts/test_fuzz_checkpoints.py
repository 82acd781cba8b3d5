import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts"
PROBE = """
import pickle, sys
from pathlib import Path
import fuzz_checkpoints

class Runs:
    def __reduce__(self):
        return eval, ("0",)

path = Path(sys.argv[1])
path.write_bytes(pickle.dumps(Runs()))
fuzz_checkpoints.read_file = lambda path: pickle.loads(path.read_bytes())
outcome = fuzz_checkpoints.judge(path, fuzz_checkpoints.Watch())
print(outcome.result, outcome.text)
"""


def test_the_watch_sees_what_a_file_runs(tmp_path: Path) -> None:
    command = [sys.executable, "-c", PROBE, tmp_path / "file"]
    run = subprocess.run(command, cwd=SCRIPTS, capture_output=True, text=True, check=True)
    assert run.stdout.startswith("fault ran: ") and "pickle.find_class" in run.stdout
