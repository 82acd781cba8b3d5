import subprocess
import sys

import pytest

from solo_rekd.errors import UserError, install_excepthook, refuse, report

RAISE = """
from solo_rekd.errors import UserError, install_excepthook
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
