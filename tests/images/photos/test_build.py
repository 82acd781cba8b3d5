import csv
import logging
import os
from pathlib import Path

import pytest

from solo_rekd.images import files
from solo_rekd.images.photos import build_index
from solo_rekd.images.photos.build import LEFT_OUT
from solo_rekd.utils.errors import UserError


@pytest.fixture(autouse=True)
def log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(files, "_reported", set())
    caplog.set_level(logging.WARNING, "solo_rekd")
    return caplog


def left_out(folder: Path) -> dict[str, str]:
    with (folder / LEFT_OUT).open(newline="", errors="surrogateescape") as file:
        return {os.path.basename(row["path"]): row["reason"] for row in csv.DictReader(file)}


def test_broken_photos_are_counted_named_and_left_out(
    messy: Path, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    index = build_index([messy], tmp_path / "index")
    assert len(index) == 7
    assert any(path.endswith("cut.png") for path in index)  # which its header does not tell
    found = left_out(tmp_path / "index")
    expected = {
        "empty.jpg": "an empty file",
        "letter.jpeg": "cannot identify",
        "begun.jpg": "cannot be decoded",
        "huge.png": "decompression bomb",
        "deep.png": "8 bits",
        "twice.jpg": f"the same file as {messy / '0.jpg'}",
        "again.png": f"the same file as {messy / '2019/may/2.png'}",
    }
    assert found.keys() == expected.keys()
    for name, fragment in expected.items():
        assert fragment in found[name]
    counts = {"empty": 1, "undecodable": 3, "of unusable pixels": 1, "listed already": 2}
    assert counts.items() <= index.left_out.items()
    (line,) = (line for line in log.messages if LEFT_OUT in line)
    for fragment in ("7 of 14", "3 undecodable", "2 listed already", "begun.jpg", "and others"):
        assert fragment in line
    assert "\n" not in line


def test_what_is_no_photo_is_counted(
    good: Path, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    index = build_index([good], tmp_path / "index")
    (line,) = log.messages
    for fragment in (str(good), "6 of 12", "3 hidden", "1 .mov"):
        assert fragment in line
    assert index.left_out["hidden"] == 3
    assert left_out(tmp_path / "index") == {}


def test_a_photo_of_a_list_that_is_not_there_is_named(
    good: Path, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "list.txt").write_text("good/0.jpg\ngood/gone.jpg\ngood/0.jpg/1.jpg\ngood/0.jpg\n")
    index = build_index([tmp_path / "list.txt"], tmp_path / "index")
    assert [*index] == [str(good / "0.jpg")]
    assert index.left_out == {"missing": 2, "listed already": 1}
    assert "No such file" in left_out(tmp_path / "index")["gone.jpg"]
    assert any("2 missing" in line and "gone.jpg" in line for line in log.messages)


def test_sources_that_overlap_are_listed_once(good: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(good, target_is_directory=True)
    index = build_index([good / "2020", good, tmp_path / "link"], tmp_path / "index")
    assert len(index) == 6
    assert index.left_out["listed already"] == 9
    assert index[0] == str(good / "2020" / "3.webp")
    assert index.sources == [str(good / "2020"), str(good), str(tmp_path / "link")]


def test_a_pipe_is_not_waited_for(good: Path, tmp_path: Path) -> None:
    os.mkfifo(good / "pipe.jpg")
    assert build_index([good], tmp_path / "index").left_out["unreadable"] == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_photo_that_may_not_be_read_is_left_out(good: Path, tmp_path: Path) -> None:
    (good / "0.jpg").chmod(0)
    assert build_index([good], tmp_path / "index").left_out["unreadable"] == 1


def test_where_no_photo_can_be_read_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "1.gif").touch()
    with pytest.raises(UserError, match=r"has no image: .*\.png"):
        build_index([tmp_path / "p"], tmp_path / "index")
    (tmp_path / "p" / "1.jpg").touch()
    with pytest.raises(UserError, match=r"no photo that can be read: 1 of 1 .*an empty file"):
        build_index([tmp_path / "p"], tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_a_folder_that_cannot_hold_an_index_is_named(good: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file/index cannot hold an index of photos: Not a dir"):
        build_index([good], tmp_path / "file" / "index")


def test_other_files_of_the_folder_stay(good: Path, tmp_path: Path) -> None:
    (tmp_path / "run" / "parts").mkdir(parents=True)
    (tmp_path / "run" / "photos.bin").touch()
    for _ in range(2):
        build_index([good], tmp_path / "run")
        assert (tmp_path / "run" / "parts").is_dir() and (tmp_path / "run" / "photos.bin").is_file()


def test_the_fingerprint_is_that_of_the_paths(good: Path, tmp_path: Path) -> None:
    first, second = (build_index([good], tmp_path / name) for name in ("a", "b"))
    assert first.fingerprint == second.fingerprint
    (good / "0.jpg").rename(good / "00.jpg")
    assert build_index([good], tmp_path / "a").fingerprint != second.fingerprint
