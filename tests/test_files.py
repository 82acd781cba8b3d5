import os
from pathlib import Path

import pytest

from solo_rekd.errors import UserError
from solo_rekd.files import (
    digest_files,
    read_json,
    read_json_lines,
    replacing,
    write_json,
    write_json_lines,
)


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a+b=c.json"
    path.write_text("old")
    with replacing(path) as unfinished:
        unfinished.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(KeyError), replacing(path) as unfinished:
        unfinished.write_text("half")
        raise KeyError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.png cannot be read: No such file") as caught:
        digest_files([str(tmp_path / "nowhere.png")], "st_size")
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_json_is_not_begun_where_a_value_is_none_of_it(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        write_json(tmp_path / "file", {"a": 1, "b": object()})
    assert not list(tmp_path.iterdir())


def test_lines_are_read_as_they_were_written(tmp_path: Path) -> None:
    lines = [{"epoch": 0, "loss": 0.1}, {"epoch": 1, "loss": float("inf")}]
    write_json_lines(tmp_path / "file", lines)
    assert (tmp_path / "file").read_text().count("\n") == 2
    assert read_json_lines(tmp_path / "file") == lines
    assert read_json_lines(tmp_path / "none") == []


def test_a_file_that_is_not_there_or_half_there_is_nothing(tmp_path: Path) -> None:
    assert read_json(tmp_path / "none.json") is None
    (tmp_path / "half.json").write_text('{"done": 0.')
    assert read_json(tmp_path / "half.json") is None


def test_a_digest_takes_any_name_of_a_file(tmp_path: Path) -> None:
    names = [os.fsdecode(b"\xe9.png"), "\u00e9.png"]  # the first is not UTF-8
    for name in names:
        (tmp_path / name).touch()
    digests = {digest_files([str(tmp_path / name)], "st_size") for name in names}
    assert len(digests) == 2
    moved = tmp_path / "moved"
    moved.mkdir()
    (moved / names[1]).touch()
    roots = (tmp_path, moved)
    assert len({digest_files([str(root / names[1])], "st_size", root=root) for root in roots}) == 1
