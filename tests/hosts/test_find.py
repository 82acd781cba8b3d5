"""Which host a command takes: by its name, by its folder, or the one that is there."""

import os
import sys
from pathlib import Path

import pytest

from solo_rekd import hosts
from solo_rekd.utils.errors import UserError


def make(root: Path, kind: str) -> Path:
    file = root / "solo" / hosts.SIGNS[kind]
    file.parent.mkdir(parents=True)
    file.touch()
    return root


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """A classic host and a checkout of main, neither of them on the path."""
    monkeypatch.setattr(sys, "path", [])
    return {kind: make(tmp_path / kind, kind) for kind in (hosts.CLASSIC, hosts.MAIN)}


def test_main_goes_first_where_both_are_importable(places: dict[str, Path]) -> None:
    sys.path[:] = [str(places["classic"])]
    assert hosts.locate() == ("classic", places["classic"])
    sys.path.append(str(places["main"]))
    assert hosts.locate() == ("main", places["main"])
    assert hosts.locate("classic") == ("classic", places["classic"])


def test_a_checkout_that_is_not_importable_is_given_by_its_folder(places: dict[str, Path]) -> None:
    assert hosts.locate(str(places["main"])) == ("main", places["main"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (None, "solo-learn is not installed"),
        ("main", r"solo-learn \(main\) is not installed"),
        ("/nowhere", "host='/nowhere' is not allowed: expected classic, main, or the folder"),
    ],
)
def test_a_host_that_is_not_there_is_refused(
    given: str | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(UserError, match=message):
        hosts.locate(given)


def test_processes_from_here_import_the_same_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", ["a"])
    monkeypatch.setenv("PYTHONPATH", "b")
    monkeypatch.delitem(sys.modules, "solo", raising=False)
    for _ in range(2):
        hosts.prefer(tmp_path)
        assert sys.path == [str(tmp_path), "a"]
        assert os.environ["PYTHONPATH"] == f"{tmp_path}{os.pathsep}b"


def test_a_second_host_in_one_process_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = type(sys)("solo")
    loaded.__path__ = ["/elsewhere/solo"]
    monkeypatch.setitem(sys.modules, "solo", loaded)
    with pytest.raises(UserError, match="already imported from /elsewhere"):
        hosts.prefer(tmp_path)
