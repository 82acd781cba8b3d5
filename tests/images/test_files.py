import logging
import os
from collections import Counter
from pathlib import Path

import pytest
from torchvision.datasets.folder import IMG_EXTENSIONS, ImageFolder

from solo_rekd.images import files
from solo_rekd.images.files import (
    DANGLING,
    HIDDEN,
    LOOP,
    OUTSIDE,
    has_images,
    list_class_images,
    list_classes,
    list_images,
    report_left_out,
)
from solo_rekd.utils.errors import UserError


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_images_are_listed_as_torchvision_lists_them(tmp_path: Path) -> None:
    endings = [f"a/{number}{ending}" for number, ending in enumerate(IMG_EXTENSIONS)]
    nested = [
        "b/z.png",
        "b/deep/er/1.JPG",
        "b/deep-er/2.png",
        "B/x=1, y.jpeg",
        "b/Ä.png",
        "c/o.png",
    ]
    make(tmp_path, *endings, *nested, "elsewhere/more/0.png")
    (tmp_path / "b" / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "b" / "link.png").symlink_to(tmp_path / "a" / "2.png")
    theirs = ImageFolder(str(tmp_path))
    assert list_classes(tmp_path) == theirs.classes
    assert list_class_images(tmp_path) == (theirs.samples, Counter())


def test_hidden_folders_are_no_classes_and_hidden_files_no_images(tmp_path: Path) -> None:
    make(
        tmp_path, "a/1.png", "a/._1.png", ".ipynb_checkpoints/1.png", "a/.cache/1.png", ".DS_Store"
    )
    assert list_classes(tmp_path) == ["a"]
    listing = list_class_images(tmp_path)
    assert listing.samples == [(str(tmp_path / "a" / "1.png"), 0)]
    assert listing.left_out == {HIDDEN: 4}


def test_what_is_left_out_is_counted_by_kind(tmp_path: Path) -> None:
    names = [
        "a/1.png",
        "a/1.gif",
        "a/2.GIF",
        "a/b/3.gif",
        "a/note.txt",
        "a/README",
        "0.png",
        "x.txt",
    ]
    listing = list_class_images(make(tmp_path, *names))
    assert len(listing.samples) == 1
    assert listing.left_out == {".gif": 3, ".txt": 1, "without an ending": 1, OUTSIDE: 2}


def test_a_link_that_leads_back_is_not_followed(tmp_path: Path) -> None:
    root = make(tmp_path / "data", "a/1.png", "a/deep/2.png", "b/3.png")
    make(tmp_path, "outside/4.png")
    places = {"a/loop": "data/a", "a/deep/up": "data", "a/more": "outside", "b/more": "outside"}
    for place, target in places.items():
        (root / place).symlink_to(tmp_path / target, target_is_directory=True)
    listing = list_class_images(root)
    found = [os.path.relpath(path, root) for path, label in listing.samples if label == 0]
    assert found == ["a/1.png", "a/deep/2.png", "a/more/4.png"]
    assert listing.left_out == {LOOP: 2}


def test_classes_may_differ_by_case_alone(tmp_path: Path) -> None:
    listing = list_class_images(make(tmp_path, "A/1.png", "a/1.png"))
    assert [label for _, label in listing.samples] == [0, 1]


@pytest.mark.parametrize("name", ["a/1.gif", "a/.1.png", "a/.deep/1.png"])
def test_a_class_without_images_is_named(name: str, tmp_path: Path) -> None:
    make(tmp_path, name, "b/1.png")
    with pytest.raises(UserError, match=r"no image in the class folders a: .*\.jpg"):
        list_class_images(tmp_path)


def test_no_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no class folders"):
        list_class_images(make(tmp_path, "1.png", ".git/1.png"))


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for listed in (list_classes, list_class_images, lambda root: list_images(root, Counter())):
        with pytest.raises(UserError, match="nowhere cannot be read: No such file"):
            listed(tmp_path / "nowhere")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_class_that_may_not_be_read_is_not_passed_over(tmp_path: Path) -> None:
    make(tmp_path, "a/1.png", "a/closed/2.png")
    (tmp_path / "a" / "closed").chmod(0)
    try:
        with pytest.raises(UserError, match="closed cannot be read: Permission denied"):
            list_class_images(tmp_path)
    finally:
        (tmp_path / "a" / "closed").chmod(0o700)


def test_a_flat_folder_is_listed_in_order_without_what_is_no_image(tmp_path: Path) -> None:
    make(
        tmp_path, "2.png", "1.JPG", "Thumbs.db", ".DS_Store", "list.txt", "._1.JPG", ".cache/3.png"
    )
    left_out: Counter[str] = Counter()
    listed = list_images(tmp_path, left_out)
    assert listed == [str(tmp_path / "1.JPG"), str(tmp_path / "2.png")]
    assert left_out == {".db": 1, ".txt": 1, HIDDEN: 3}


def test_without_labels_images_are_listed_at_any_depth(tmp_path: Path) -> None:
    names = "2.png 1.webp cat.png/1.TIFF b/c/d/0.BMP b/c/0.jpeg .hid/1.png b/.DS_Store b/x.gif"
    make(tmp_path, *names.split())
    (tmp_path / "b" / "up").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "b" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    make(tmp_path.parent / f"{tmp_path.name}-other", "3.png")
    (tmp_path / "c").symlink_to(tmp_path.parent / f"{tmp_path.name}-other")
    left_out: Counter[str] = Counter()
    found = [os.path.relpath(path, tmp_path) for path in list_images(tmp_path, left_out)]
    assert found == ["1.webp", "2.png", "b/c/0.jpeg", "b/c/d/0.BMP", "c/3.png", "cat.png/1.TIFF"]
    assert left_out == {HIDDEN: 2, ".gif": 1, LOOP: 1, DANGLING: 1}


@pytest.fixture
def log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> pytest.LogCaptureFixture:
    """What is reported, by a process that has reported nothing yet."""
    monkeypatch.setattr(files, "_reported", set())
    for name in files.RANKS:
        monkeypatch.delenv(name, raising=False)
    caplog.set_level(logging.WARNING, "solo_rekd")
    return caplog


GIFS = 1, Counter({".gif": 200, ".txt": 1})


def test_it_is_reported_once_in_one_line(log: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    for folder in ("train", "train", "val", "../" + tmp_path.name + "/train"):
        report_left_out(tmp_path / folder, *GIFS)
    report_left_out(tmp_path / "clean", 1, Counter())
    assert len(log.messages) == 2
    for fragment in (str(tmp_path / "train"), "201 of 202", "200 .gif", "1 .txt", ".jpeg"):
        assert fragment in log.messages[0]
    assert "\n" not in log.messages[0]


@pytest.mark.parametrize("name", files.RANKS)
def test_one_process_of_several_reports(
    name: str, log: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "1")
    report_left_out("train", *GIFS)
    assert not log.messages
    monkeypatch.setenv(name, "0")
    report_left_out("train", *GIFS)
    assert len(log.messages) == 1


@pytest.mark.parametrize(
    ("name", "holds"),
    [("a.jpg", True), ("deep/part/a.PNG", True), ("a.txt", False), ("._a.jpg", False),
     (".hidden/a.jpg", False)],
)  # fmt: skip
def test_a_class_holds_images_by_the_rule_of_the_listing(
    name: str, holds: bool, tmp_path: Path
) -> None:
    path = tmp_path / "class" / name
    path.parent.mkdir(parents=True)
    path.touch()
    (tmp_path / "class" / "loop").symlink_to(tmp_path)
    assert has_images(tmp_path / "class") is holds
