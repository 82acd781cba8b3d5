import os
from pathlib import Path

import pytest

from solo_rekd.images.files import HIDDEN, LOOP
from solo_rekd.images.photos import PhotoIndex, build_index
from solo_rekd.images.photos.sources import common_folder, list_sources, read_list
from solo_rekd.utils.errors import UserError

ORDER = ("0.jpg", "2019/may/1.JPG", "2019/may/2.png", "2020/3.webp", "2020/4.bmp", "2020/5.TIFF")


def names(paths: list[str], root: Path) -> list[str]:
    return [os.path.relpath(path, root) for path in paths]


def test_a_folder_holds_photos_at_any_depth(good: Path) -> None:
    found = list_sources([good])
    assert (found.root, names(found.paths, good)) == (str(good), list(ORDER))
    assert found.left_out == {HIDDEN: 3, LOOP: 1, ".md": 1, ".mov": 1}


def test_several_sources_are_listed_in_their_order(good: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("good/0.jpg\n")
    found = list_sources([good / "2020", tmp_path / "list.txt", good / "2019" / "may" / "2.png"])
    assert names(found.paths, good) == [*ORDER[3:], "0.jpg", "2019/may/2.png"]
    assert found.root == str(good)


def test_a_source_may_be_relative(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(good)
    assert list_sources(["."]).paths == list_sources([good]).paths


@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
def test_a_list_has_a_path_in_each_line(start: bytes, tmp_path: Path) -> None:
    content = b"a.jpg\r\n\r\n# mine\r\n  b/c d.png \n/x/\xff.jpg\nlast.png"
    (tmp_path / "list.txt").write_bytes(start + content)
    here = [os.path.join(tmp_path, name) for name in ("a.jpg", "b/c d.png", "last.png")]
    assert read_list(str(tmp_path / "list.txt")) == [
        *here[:2],
        os.fsdecode(b"/x/\xff.jpg"),
        here[2],
    ]


def test_a_line_of_a_list_may_be_a_folder_or_a_photo_of_any_name(
    good: Path, tmp_path: Path
) -> None:
    (good / "no-ending").touch()
    (tmp_path / "LIST.TXT").write_text("good/no-ending\ngood/2020\ngood/gone.jpg\n")
    found = list_sources([tmp_path / "LIST.TXT"])
    assert names(found.paths, good) == ["no-ending", *ORDER[3:], "gone.jpg"]
    assert found.root == str(good)


def test_an_index_is_a_source(good: Path, tmp_path: Path) -> None:
    index = build_index([good], tmp_path / "index")
    held_out, _ = index.split(2, 0)
    assert list_sources([held_out.folder]).paths == list(held_out)
    assert isinstance(held_out, PhotoIndex)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("gone", None, "gone cannot be read: No such file"),
        ("photos.csv", "0.jpg", r"photos=.*photos\.csv' is not allowed: expected a folder"),
        ("empty.txt", "\n# none\n", r"empty\.txt names no photo"),
    ],
)
def test_what_is_no_source_is_refused(
    name: str, content: str | None, message: str, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message):
        list_sources([tmp_path / name])


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["/a/b"], "/a/b"),
        (["/a/b", "/a/b/c", "/a/b-x"], "/a"),
        (["/a/b", "/a/b/c"], "/a/b"),
        (["/a", "/b"], "/"),
        (["/", "/b"], "/"),
    ],
)
def test_the_folder_that_all_lie_in(folders: list[str], expected: str) -> None:
    assert common_folder(folders) == expected
