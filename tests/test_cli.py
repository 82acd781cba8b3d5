import errno
import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from solo_rekd import __version__, cli

Flags = Callable[..., list[str]]
Solo = Callable[..., tuple[int, str, str]]
# Looks at the methods as the host's main_pretrain.py does, and runs in a process of its own.
SCRIPT = """
import sys
from solo.args.setup import parse_args_pretrain
from solo.methods import METHODS
print(__name__, sys.argv[1:], "rekd" in METHODS)
if sys.argv[1:] != ["plain"]:
    print(parse_args_pretrain().num_prototypes)
"""


@pytest.mark.parametrize("argv", [[], ["-h"], ["--help"]])
def test_help_names_every_command(argv: list[str], solo: Solo) -> None:
    code, out, err = solo(*argv)
    assert (code, err) == (0, "")
    for command in cli.COMMANDS:
        assert f"\n    {command} " in out


def test_version(solo: Solo) -> None:
    assert solo("--version") == (0, f"solo-rekd {__version__}\n", "")


def test_unknown_command_is_one_line(solo: Solo) -> None:
    code, out, err = solo("pretrian")
    assert (code, out) == (2, "")
    assert err.startswith("solo-rekd: error: command='pretrian' is not allowed: expected pretrain,")
    assert err.count("\n") == 1


HELPS = [["--help"], ["--version"], ["pretrain", "--method", "rekd", "--help"]]
HELPS += [[command, flag] for command in cli.COMMANDS for flag in ("--help", "-h")]


@pytest.mark.parametrize("argv", HELPS, ids=" ".join)
def test_help_needs_neither_host_nor_torch(argv: list[str]) -> None:
    program = f"""
import sys
for name in ("torch", "torchvision", "timm", "numpy", "solo", "pytorch_lightning", "lightning"):
    sys.modules[name] = None  # whoever imports it fails
sys.argv = ["solo-rekd", *{argv}]
from solo_rekd import cli
cli.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"SOLO_REKD_AUTOLOAD": "0"},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    if argv[0] in cli.COMMANDS:
        assert done.stdout.startswith(f"usage: solo-rekd {argv[0]} ")


def test_help_after_a_script_is_the_scripts(solo: Solo, tmp_path: Path) -> None:
    (script := tmp_path / "main.py").write_text("import sys; print('script', sys.argv[1:])")
    code, out, _ = solo("run", str(script), "--help")
    assert (code, out) == (0, "script ['--help']\n")


def test_words_after_a_script_are_left_alone(solo: Solo, tmp_path: Path) -> None:
    (script := tmp_path / "main.py").write_text("import sys; print(sys.argv[1:])")
    words = ["--", "a", "--", "--flag=1", "-h"]
    assert solo("run", str(script), *words) == (0, f"{words}\n", "")


@pytest.mark.parametrize("command", ["demo", "knn", "export", "list"])
def test_a_bare_dash_means_nothing_to_most(command: str, solo: Solo) -> None:
    code, _, err = solo(command, "--", "x")
    assert code == 2 and "unrecognized arguments: -- x" in err and err.count("\n") == 1


def test_cut() -> None:
    assert cli.cut(["compare", "--a", "--", "--b", "--", "c"]) == (
        ["compare", "--a"],
        ["--b", "--", "c"],
    )
    assert cli.cut(["run", "x.py", "--", "y"]) == (["run", "x.py"], ["--", "y"])
    assert cli.cut(["list"]) == (["list"], [])


def test_list_takes_nothing(solo: Solo) -> None:
    code, _, err = solo("list", "teachers")
    assert code == 2 and "teachers" in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "no_such_method"}, "method='no_such_method' is not allowed: expected"),
        ({"encoder": "timm:resnet10x"}, "backbone='timm:resnet10x' is not allowed: expected"),
        ({"teacher": "no_such_net"}, "teacher='no_such_net' is not allowed: expected"),
        (
            {"teacher_mode": "frozen", "teacher_checkpoint": "/nowhere/t.pt"},
            "teacher_checkpoint='/nowhere/t.pt' is not allowed: expected a file that exists",
        ),
        ({"own_weight": 2}, "own_weight=2.0 is not allowed: expected a number from 0 to 1"),
    ],
)
def test_mistake_in_pretraining_is_one_line(
    changes: dict[str, Any], message: str, solo: Solo, flags: Flags
) -> None:
    code, out, err = solo("pretrain", *flags("pretrain", **({"method": "rekd"} | changes)))
    assert (code, out) == (2, "")
    *notes, last = err.splitlines()
    assert last.startswith(f"solo-rekd: error: {message}")
    assert not [line for line in notes if "Traceback" in line or "error" in line]


def test_choice_that_is_none_shows_the_choices(solo: Solo, flags: Flags) -> None:
    code, _, err = solo("pretrain", *flags("pretrain", method="rekd", encoder="no_such_net"))
    assert code == 2
    assert "encoder='no_such_net' is not allowed: expected " in err and "alexnet" in err
    assert err.startswith("solo-rekd: error: ") and err.count("\n") == 1


def test_missing_flags_are_one_line_without_all_the_others(solo: Solo, data: Path) -> None:
    images = ["--dataset", "custom", "--train_dir", "train"]
    argv = ["pretrain", "--method", "rekd", "--encoder", "alexnet", *images]
    for more, missing in (
        ([], "--data_dir, --optimizer"),
        (["--data_dir", str(data), "--optimizer", "sgd"], "--brightness"),  # of the classic host
    ):
        code, out, err = solo(*argv, *more)
        assert (code, out) == (2, "")
        assert err.startswith("solo-rekd: error: the following arguments are required: ")
        assert missing in err and err.count("\n") == 1


def test_train_and_evaluate(solo: Solo, flags: Flags, tmp_path: Path) -> None:
    short = {"limit_train_batches": 1, "limit_val_batches": 0}
    kept = {"save_checkpoint": True, "checkpoint_dir": tmp_path}
    code, out, _ = solo("pretrain", *flags("pretrain", method="rekd", **short, **kept))
    assert code == 0
    (checkpoint,) = tmp_path.glob("rekd/*/*.ckpt")
    assert f"images/s; checkpoint: {checkpoint}\n" in out
    weights = {"pretrained_feature_extractor": checkpoint}
    code, out, _ = solo("linear", *flags("linear", limit_train_batches=1, **weights))
    assert code == 0
    assert out.splitlines()[-1].startswith("linear top-1 ")
    assert "top-5 100.00 (linear classifier on frozen features, 1 epochs" in out
    code, out, _ = solo("knn", *flags("knn", k=3, **weights))
    assert code == 0
    assert out.splitlines()[-1].startswith("kNN top-1 ")
    assert "(weighted kNN, cosine, k 3, " in out


def test_run_needs_a_script(solo: Solo) -> None:
    for argv in ([], ["/nowhere/main_pretrain.py"]):
        code, _, err = solo("run", *argv)
        assert code == 2
        assert err.startswith("solo-rekd: error: run=") and err.count("\n") == 1


def test_run_runs_a_script_as_python_does(
    solo: Solo, flags: Flags, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "neighbour.py").touch()
    script = tmp_path / "main.py"
    script.write_text("import neighbour\n" + SCRIPT)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("SOLO_REKD_AUTOLOAD", "0")
    argv = flags("pretrain", method="rekd")
    code, out, _ = solo("run", str(script), *argv)
    assert code == 0
    assert out.splitlines() == [f"__main__ {argv} True", "4"]
    # for the other processes of DDP, which start from the script
    assert os.environ["SOLO_REKD_AUTOLOAD"] == "1"


def python(*argv: Any, autoload: str) -> str:
    # without coverage, which doubles the seconds that the host takes to import
    quiet = {"COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""}
    done = subprocess.run(
        [sys.executable, *argv],
        env=os.environ | quiet | {"SOLO_REKD_AUTOLOAD": autoload},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_run_has_the_plugin_where_start_up_has_not(tmp_path: Path, flags: Flags) -> None:
    script = tmp_path / "main.py"
    script.write_text(SCRIPT)
    argv = flags("pretrain", method="rekd")
    command = Path(sys.executable).with_name("solo-rekd")
    shown = python(command, "run", script, *argv, autoload="0")
    assert shown.splitlines()[-2:] == [f"__main__ {argv} True", "4"]


@pytest.mark.slow
@pytest.mark.parametrize(("autoload", "active"), [("1", True), ("0", False)])
def test_start_up_hook_end_to_end(autoload: str, active: bool, tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(SCRIPT)
    shown = python(script, "plain", autoload=autoload)
    assert shown.splitlines()[-1] == f"__main__ ['plain'] {active}"


@pytest.mark.slow
def test_mistake_is_the_only_line(tmp_path: Path) -> None:
    command = Path(sys.executable).with_name("solo-rekd")
    needed = "--dataset custom --data_dir . --train_dir . --encoder alexnet --optimizer sgd"
    argv = ["pretrain", "--method", "no_such_method", *needed.split()]
    done = subprocess.run([command, *argv], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("solo-rekd: error: method='no_such_method' is not allowed")
    assert done.stderr.count("\n") == 1


def test_a_path_that_the_system_refuses_is_one_line(solo: Solo, tmp_path: Path) -> None:
    code, _, err = solo("export", str(tmp_path / f"{'x' * 300}.ckpt"), str(tmp_path / "x.onnx"))
    assert code == 2
    assert err.startswith("solo-rekd: error: ")
    assert err.endswith("xxx.ckpt: File name too long\n")
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["run", "list"])
def test_what_is_not_the_users_mistake_keeps_its_traceback(
    command: str, solo: Solo, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = errno.ENOENT if command == "run" else errno.EMFILE
    fail_in(command, OSError(number, "no", "file"), monkeypatch)
    with pytest.raises(OSError, match="no"):
        solo(command)


@pytest.mark.parametrize(
    ("raised", "code"), [(KeyboardInterrupt(), 130), (OSError(errno.ENOSPC, "No space left"), 2)]
)
def test_what_ends_a_command_from_outside_is_no_traceback(
    raised: BaseException, code: int, solo: Solo, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_in("list", raised, monkeypatch)
    found, _, err = solo("list")
    assert found == code
    said = "solo-rekd: error: a file cannot be written: No space left\n"
    assert err == (said if code == 2 else "")


def fail_in(command: str, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a command end in an error."""

    def fail(args: Any) -> None:
        raise error

    module = importlib.import_module(f"solo_rekd.{cli.COMMANDS[command].module}")
    monkeypatch.setattr(module, "main", fail)
