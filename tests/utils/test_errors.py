import ast
import subprocess
import sys
from pathlib import Path

import pytest

from solo_rekd.utils import errors
from solo_rekd.utils.errors import (
    UserError,
    install_excepthook,
    refuse,
    refuse_beyond,
    refuse_missing,
    report,
)

RAISE = """
from solo_rekd.utils.errors import UserError, install_excepthook
install_excepthook()
raise {error}
"""


def test_refuse_names_key_value_and_what_is_allowed() -> None:
    assert str(refuse("stem", "big", ("auto", "small"))) == (
        "stem='big' is not allowed: expected auto, small"
    )
    assert str(refuse("size", 0, "at least 1")) == "size=0 is not allowed: expected at least 1"


def test_report_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(UserError("a=1")) == 2
    assert capsys.readouterr() == ("", "solo-rekd: error: a=1\n")


def test_hook_is_installed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", lambda *args: None)
    install_excepthook()
    installed = sys.excepthook
    install_excepthook()
    assert sys.excepthook is installed


def test_hook_leaves_other_errors_to_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(sys, "excepthook", lambda *args: seen.append(args))
    install_excepthook()
    error = ValueError("not the user's")
    sys.excepthook(ValueError, error, None)
    assert seen == [(ValueError, error, None)]


def raised(error: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", RAISE.format(error=error)], capture_output=True, text=True
    )
    return done.returncode, done.stderr


def test_uncaught_mistake_is_one_line() -> None:
    assert raised("UserError('a=1')") == (2, "solo-rekd: error: a=1\n")


def test_uncaught_bug_keeps_its_traceback() -> None:
    code, shown = raised("ValueError('bug')")
    assert code == 1
    assert shown.startswith("Traceback") and shown.endswith("ValueError: bug\n")


BAR = """
from {module} import {name}
from solo_rekd.utils.errors import UserError, report
bar = {name}(range(5), {options})
next(iter(bar))
report(UserError("a=1"))
"""


@pytest.mark.parametrize("options", ["", "leave=False", "file=__import__('sys').stdout"])
@pytest.mark.parametrize(("module", "name"), [("tqdm", "tqdm"), ("tqdm.auto", "tqdm")])
def test_the_message_begins_a_line_under_a_progress_bar(
    module: str, name: str, options: str
) -> None:
    code = BAR.format(module=module, name=name, options=options)
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert "solo-rekd: error: a=1" in done.stdout.replace("\r", "\n").splitlines()
    # on a terminal a carriage return alone would leave what the bar had written further right
    before = done.stdout[: done.stdout.index("solo-rekd: error")]
    assert before[-1] == "\n" or (options == "leave=False" and before[-1] == "\r")


@pytest.mark.parametrize(("asked", "shown"), [("1", True), ("0", False), (None, False)])
def test_the_traceback_of_a_mistake_is_shown_where_it_is_asked_for(
    asked: str | None,
    shown: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("SOLO_REKD_TRACEBACK", raising=False)
    if asked is not None:
        monkeypatch.setenv("SOLO_REKD_TRACEBACK", asked)
    try:
        try:
            raise KeyError("the cause")
        except KeyError as error:
            raise UserError("a=1") from error
    except UserError as error:
        assert report(error) == 2
    *before, last = capsys.readouterr().err.splitlines()
    assert last == "solo-rekd: error: a=1"
    assert bool(before) is shown
    text = "\n".join(before)
    assert ("KeyError: 'the cause'" in text, "direct cause" in text) == (shown, shown)


def test_a_message_of_several_lines_becomes_one(capsys: pytest.CaptureFixture[str]) -> None:
    report(UserError("a=1\nand more"))
    assert capsys.readouterr().err == "solo-rekd: error: a=1 and more\n"


def test_no_mistake_hides_its_cause() -> None:
    package = Path(errors.__file__).parent
    hidden = [path for path in package.rglob("*.py") if " from None" in path.read_text()]
    assert hidden == []


def test_a_missing_package_is_named_wherever_it_would_lie() -> None:
    refuse_missing(["json", "os.path"], "compare")
    with pytest.raises(UserError, match=r"^absent, absent.part, json.part missing: pip install"):
        refuse_missing(["json", "absent", "absent.part", "json.part"], "compare")


# files whose every handler of a ValueError was seen to have nothing of ours under it that refuses
SEEN = {
    "checkpoints/outside/onnx.py",
    "checkpoints/pickled/allowed.py",
    "checkpoints/pickled/legacy.py",
    "checkpoints/preprocessing.py",
    "checkpoints/read.py",
    "commands/doctor/imported.py",
    "commands/doctor/registration.py",
    "compare/arms.py",
    "compare/launch/cluster.py",
    "compare/report/maps.py",
    "config.py",
    "hosts/classic/commands.py",
    "hosts/shared/dali.py",
    "hosts/words.py",
    "images/decoded/loader.py",
    "images/fingerprint.py",
    "images/photos/index.py",
    "images/photos/look.py",
    "images/read.py",
    "utils/files.py",
    "utils/memory.py",
}


def test_who_catches_a_value_error_lets_a_mistake_pass() -> None:
    """A UserError is one: a handler lets it pass first, or was looked at."""
    root = Path(errors.__file__).parents[1]
    found = set()
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Try):
                kinds = [ast.unparse(handler.type) for handler in node.handlers if handler.type]
                unsafe = any("ValueError" in kind and "UserError" not in kind for kind in kinds)
                if unsafe and "UserError" not in kinds:
                    found.add(str(path.relative_to(root)))
            elif isinstance(node, ast.With):
                calls = [ast.unparse(item.context_expr) for item in node.items]
                if any("suppress(" in call and "ValueError" in call for call in calls):
                    found.add(str(path.relative_to(root)))
    assert found == SEEN


def test_a_whole_number_has_torchs_limit_and_a_rate_has_none() -> None:
    refuse_beyond("lr", 1e30, 0)
    refuse_beyond("queue_size", 2**63 - 1, 1)
    with pytest.raises(UserError, match=r"^queue_size=9223372036854775808 .* below 2\*\*63$"):
        refuse_beyond("queue_size", 2**63, 1)
    with pytest.raises(UserError, match="of 0 or more"):
        refuse_beyond("lr", -(10**400), 0)
