"""Broken images in class folders are left out where that is asked for, by content alone."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from solo_rekd.images import broken, files
from solo_rekd.images.broken import find_broken, skip_broken, skips_broken
from solo_rekd.images.files import BROKEN, list_class_images
from solo_rekd.images.fingerprint import fingerprint
from solo_rekd.images.sets import ClassFolders
from solo_rekd.utils.errors import UserError

CUT, EMPTY, TEXT = "a/01.png", "b/00.png", "c/02.png"  # the first image of all is whole


@pytest.fixture
def folder(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Class folders with three images that cannot be decoded, in a process that said nothing."""
    monkeypatch.setattr(files, "_reported", set())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shutil.copytree(data / "train", root := tmp_path / "train")
    (root / CUT).write_bytes((root / CUT).read_bytes()[:-40])
    (root / EMPTY).write_bytes(b"")
    (root / TEXT).write_text("<html>not found</html>")
    return root


def test_they_are_left_out_named_and_counted(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    skip_broken()
    dataset = ClassFolders(folder)
    assert len(dataset) == 45
    assert not {str(folder / name) for name in (CUT, EMPTY, TEXT)} & {p for p, _ in dataset.samples}
    assert [len([1 for label in dataset.targets if label == each]) for each in range(3)] == [15] * 3
    for image, _ in dataset:
        assert image.mode == "RGB"
    named = next(line for line in caplog.messages if "are broken" in line)
    assert named.startswith(f"{folder}: 3 of 48 images are broken and left out: {folder / CUT} (")
    assert str(folder / EMPTY) in named and str(folder / TEXT) in named
    assert not any("files are left out" in line for line in caplog.messages)
    assert list_class_images(folder).left_out == {BROKEN: 3}


def test_without_the_flag_the_image_ends_what_reads_it(folder: Path) -> None:
    assert not skips_broken()
    dataset = ClassFolders(folder)
    assert len(dataset) == 48
    with pytest.raises(UserError, match=r"a/01\.png cannot be decoded"):
        dataset[1]


def test_the_digest_is_that_of_the_whole_images(folder: Path, tmp_path: Path) -> None:
    skip_broken()
    found = {fingerprint(ClassFolders(folder)) for _ in range(2)}
    clean = tmp_path / "clean" / "train"
    shutil.copytree(folder, clean)
    for name in (CUT, EMPTY, TEXT):
        (clean / name).unlink()
    assert found == {fingerprint(ClassFolders(clean))}


def test_what_was_found_is_kept_until_an_image_changes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted(map(str, folder.rglob("*.png")))
    looked: list[str] = []
    look = broken.undecodable
    monkeypatch.setattr(broken, "undecodable", lambda path: looked.append(path) or look(path))
    first = find_broken(paths, folder)
    assert [*first] == [str(folder / name) for name in (CUT, EMPTY, TEXT)]
    assert find_broken(paths, folder) == first
    assert sorted(looked) == paths
    shutil.copy(folder / "a/00.png", folder / EMPTY)
    assert [*find_broken(paths, folder)] == [str(folder / name) for name in (CUT, TEXT)]


@pytest.mark.parametrize("content", ["{", "[]", json.dumps({"identity": {}, "broken": {}})])
def test_a_damaged_note_is_made_anew(content: str, folder: Path, tmp_path: Path) -> None:
    paths = sorted(map(str, folder.rglob("*.png")))
    first = find_broken(paths, folder)
    (note,) = (tmp_path / "cache").rglob("broken/*.json")
    note.write_text(content)
    assert find_broken(paths, folder) == first


def deep(path: Path) -> None:
    Image.fromarray(np.full((4, 4), 30_000, np.uint16)).save(path)


def gone(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere.png")


def disk(path: Path) -> None:
    if not os.path.exists("/proc/self/mem"):
        pytest.skip("no file here whose reading fails")
    path.unlink()
    path.symlink_to("/proc/self/mem")


@pytest.mark.parametrize(
    ("make", "said"), [(deep, "8 bits"), (gone, "No such file"), (disk, "Input/output error")]
)
def test_what_may_pass_or_is_not_broken_is_refused(make: Any, said: str, folder: Path) -> None:
    make(folder / "b/03.png")
    skip_broken()
    with pytest.raises(UserError, match=said):
        ClassFolders(folder)


def test_a_class_of_broken_images_alone_is_refused(folder: Path) -> None:
    for path in (folder / "b").iterdir():
        path.write_bytes(b"")
    skip_broken()
    with pytest.raises(UserError, match=r"every image of the class folders b is broken, such as"):
        ClassFolders(folder)


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    reasons = {f"{number}.png": "cut" for number in range(12)}
    line = broken.describe(100, reasons)
    assert line.startswith("12 of 100 images are broken and left out: 0.png (cut), 1.png")
    assert line.endswith("9.png (cut) and 2 others") and "10.png" not in line
