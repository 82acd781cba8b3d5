"""A full disk is told in one line that names the file, and nothing half-written is left."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from full_disk import FULL, check_nothing_is_left, full_disk, words

from solo_rekd.utils.files import UNFINISHED, replacing

Solo = Callable[..., tuple[int, str, str]]


def test_the_error_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with full_disk(), pytest.raises(OSError, match=FULL) as raised, replacing(path) as unfinished:
        unfinished.write_bytes(bytes(10**6))
    assert raised.value.filename == str(path)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("name", ["pretrain", "linear", "embed", "export"])
def test_nothing_is_left(
    name: str, ready: Path, solo: Solo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_nothing_is_left(name, ready, tmp_path / "run", solo, monkeypatch)


@pytest.mark.slow
def test_a_distillation_goes_on_where_there_is_room_again(
    ready: Path, solo: Solo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ready, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    with full_disk():
        code, _, said = solo(*words("distil"))
    assert (code, FULL in said.splitlines()[-1]) == (2, True), said
    assert [*Path().rglob(f"*{UNFINISHED}")] == []
    code, _, said = solo(*words("distil"))
    assert code == 0, said
    assert Path("out/student.safetensors").exists()
