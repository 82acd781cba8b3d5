"""No command asks anything of the network, or writes outside of its folder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torchvision.models import resnet18

ROOT = Path(__file__).parents[2]
# one process does all, for the libraries take most of the time; `doctor` may find trouble here
START = """
import json, sys
from pathlib import Path
from solo_rekd.cli import main
for words in json.loads(sys.argv[1]):
    newest = sorted(map(str, Path("out/pretrain").rglob("*.ckpt")))[-1:]
    sys.argv = ["solo-rekd", *(newest[0] if word == "CKPT" else word for word in words)]
    try:
        main()
    except SystemExit as stopped:
        if stopped.code not in (None, 0, int(words[0] == "doctor")):
            sys.exit(f"{words}: {stopped.code}")
"""
TINY = "--batch_size 8 --crop_size 32"
RUN = "--optimizer sgd --lr 0.1 --scheduler none --max_epochs 1 --num_workers 0"
COLOURS = "--brightness 0.4 --contrast 0.4 --saturation 0.2 --hue 0.1"
IMAGES = "--dataset custom --data_dir images --train_dir train --val_dir val --encoder alexnet"
HEAD = "--proj_output_dim 512 --queue_size 24 --teacher resnet18 --teacher_checkpoint t.pth"
STUDENT = "out/distil/student.safetensors"
# what each is given; what a later one reads, an earlier one has written
COMMANDS = {
    "distil": f"images/train --teacher resnet18 --teacher_checkpoint t.pth --teacher_size 32 "
    f"--student alexnet --epochs 1 --workers 1 --out out/distil {TINY}",
    "inspect": STUDENT,
    "embed": f"{STUDENT} images/val out/features.npy",
    "pretrain": f"--method rekd {IMAGES} {TINY} {RUN} {COLOURS} {HEAD} --teacher_mode frozen "
    "--save_checkpoint --checkpoint_dir out/pretrain",
    "knn": "--pretrained_feature_extractor CKPT --dataset custom --data_dir images "
    "--train_dir train --val_dir val",
    "linear": f"--pretrained_feature_extractor CKPT {IMAGES} --batch_size 8 {RUN}",
    "export": "CKPT out/student.onnx",
    "compare": "--data images --out out/compare --methods simclr --epochs 1 --linear_epochs 1 "
    "--batch_size 8 --num_workers 0 --crop_size 32",
    "doctor": "",
}
TAKES_HOST = {"distil", "pretrain", "linear", "compare"}


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder with its size and time."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def run(commands: list[list[str]], place: Path, notes: Path) -> "subprocess.CompletedProcess[str]":
    """Runs commands with a home, a cache and temporary files of their own."""
    path = [
        str(ROOT / "tests" / "support" / "watched"),
        str(ROOT),
        os.environ.get("PYTHONPATH", ""),
    ]
    env = os.environ | {
        "SOLO_REKD_WATCHED": str(notes),
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "HOME": str(place / "home"),
        "TMPDIR": str(place / "tmp"),
        "MPLCONFIGDIR": str(place / "cache" / "matplotlib"),
        "XDG_CACHE_HOME": str(place / "cache"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    # a torch that this process has imported may have named its own cache there
    left_out = ("COV", "TORCHINDUCTOR")
    env = {name: value for name, value in env.items() if not name.startswith(left_out)}
    return subprocess.run(
        [sys.executable, "-c", START, json.dumps(commands)],
        cwd=place / "work",
        env=env,
        capture_output=True,
        text=True,
        timeout=600,
    )


@pytest.fixture(params=["classic", "main"])
def host(request: pytest.FixtureRequest) -> str:
    if request.param == "main" and not os.environ.get("SOLO_LEARN_HOME"):
        pytest.skip("SOLO_LEARN_HOME names no checkout of solo-learn's main branch")
    return "classic" if request.param == "classic" else os.environ["SOLO_LEARN_HOME"]


def test_the_watch_sees_the_network_and_what_is_written(tmp_path: Path) -> None:
    """In a child of the process too, as the runs of a comparison are."""
    for name in ("home", "tmp", "work"):
        (tmp_path / name).mkdir()
    inner = (
        "import socket, pathlib; pathlib.Path('a').write_text('b'); "
        "socket.create_connection(('192.0.2.1', 9), 1)"
    )
    code = (
        "import subprocess, sys; "
        f"sys.exit(subprocess.run([sys.executable, '-c', {inner!r}]).returncode)"
    )
    path = str(ROOT / "tests" / "support" / "watched")
    notes = tmp_path / "notes"
    env = os.environ | {"SOLO_REKD_WATCHED": str(notes), "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True)
    assert done.returncode == 1 and b"allows no network" in done.stderr
    found = [json.loads(line) for line in notes.read_text().splitlines()]
    assert ("write", str(tmp_path / "a")) in [(each["kind"], each["what"]) for each in found]
    assert any("192.0.2.1" in each["what"] for each in found if each["kind"] == "network")


@pytest.mark.trial
def test_commands_stay_in_their_folder_and_off_the_network(
    host: str, data: Path, tmp_path: Path
) -> None:
    for name in ("home", "tmp", "cache", "work/out"):
        (tmp_path / name).mkdir(parents=True)
    work = tmp_path / "work"
    shutil.copytree(data, work / "images")
    torch.manual_seed(0)
    torch.save(resnet18(num_classes=10).state_dict(), work / "t.pth")
    package = state(ROOT / "solo_rekd")
    before = {name: state(tmp_path / name) for name in ("home", "work/images")}
    notes = tmp_path / "notes"
    allowed = tuple(str(tmp_path / name) for name in ("work/out", "tmp", "cache", "notes"))
    commands = [
        [name, *text.split(), *["--host", host] * (name in TAKES_HOST)]
        for name, text in COMMANDS.items()
    ]
    done = run(commands, tmp_path, notes)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in notes.read_text().splitlines()]
    assert [each for each in found if each["kind"] == "network"] == []
    written = {each["what"] for each in found if each["kind"] == "write"}
    outside = {path for path in written if not path.startswith((*allowed, "/dev/", "/proc/"))}
    assert outside <= {str(work)}  # where doctor tries a file without a name
    assert written  # it was watched
    assert {name: state(tmp_path / name) for name in before} == before
    assert state(ROOT / "solo_rekd") == package
    assert sorted(path.name for path in work.iterdir()) == ["images", "out", "t.pth"]
    assert [path for path in (tmp_path / "tmp").rglob("*") if path.is_file()] == []
