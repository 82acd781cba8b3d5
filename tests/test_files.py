import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from solo_rekd.errors import UserError
from solo_rekd.files import (
    UNFINISHED,
    decoding,
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


def damaged_text(path: Path) -> None:
    """A PNG whose compressed text says that it is compressed in an unknown way."""
    text = b"zTXtkey\0\1"
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    Image.new("RGB", (4, 4)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:33] + chunk + whole[33:])


def enormous(path: Path) -> None:
    """A PNG that claims to be of 50,000 x 50,000 px."""
    Image.new("RGB", (4, 4)).save(path)
    whole = path.read_bytes()
    header = b"IHDR" + struct.pack(">II", 50_000, 50_000) + whole[24:29]
    path.write_bytes(whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:])


@pytest.mark.parametrize("damage", [damaged_text, enormous])
def test_a_damaged_image_is_named(damage: Callable[[Path], None], tmp_path: Path) -> None:
    damage(path := tmp_path / "image.png")
    with pytest.raises(UserError, match=r"image.png cannot be decoded: "), decoding(path):
        Image.open(path).convert("RGB")


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


def test_two_that_write_one_file_do_not_tear_each_others(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with replacing(path) as first:
        first.write_text("the first's")
        with replacing(path) as second:
            second.write_text("the second's, which is longer")
            assert first.read_text() == "the first's"
        assert path.read_text() == "the second's, which is longer"
    assert path.read_text() == "the first's"
    assert first.name.endswith(UNFINISHED)
    assert list(tmp_path.iterdir()) == [path]
