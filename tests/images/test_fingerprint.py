"""Fingerprints of images, and the digests that are kept of their files."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from solo_rekd.images import fingerprint as module
from solo_rekd.images.fingerprint import cache_file, fingerprint, fingerprint_files, read_cache
from solo_rekd.utils.errors import UserError

NAMES = ["a/0.png", "a/1.png", "b/0.png"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for every test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three files in two folders."""
    folder = tmp_path / "images"
    for name in NAMES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(f"the pixels of {name}".encode())
    return folder


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose content is read."""
    names: list[str] = []

    def watched(path: str, *args: Any, **settings: Any) -> Any:
        names.append("/".join(str(path).split("/")[-2:]))
        return open(path, *args, **settings)

    monkeypatch.setattr(module, "open", watched, raising=False)
    return names


def look(root: Path, names: list[str] = NAMES, labels: Any = None) -> str:
    return fingerprint_files([str(root / name) for name in names], root, labels)


def settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets every file be old enough to be trusted."""
    monkeypatch.setattr(module, "SETTLED", -1)


def change_a_byte(root: Path) -> list[str]:
    path = root / NAMES[1]
    path.write_bytes(path.read_bytes().replace(b"pixels", b"pixelz"))
    return NAMES


def lengthen(root: Path) -> list[str]:
    (root / NAMES[1]).write_bytes((root / NAMES[1]).read_bytes() + b"\0")
    return NAMES


def exchange_two(root: Path) -> list[str]:
    one, other = ((root / name).read_bytes() for name in NAMES[:2])
    (root / NAMES[0]).write_bytes(other)
    (root / NAMES[1]).write_bytes(one)
    return NAMES


def rename(root: Path) -> list[str]:
    (root / NAMES[1]).rename(root / "a/2.png")
    return [NAMES[0], "a/2.png", NAMES[2]]


def reverse(root: Path) -> list[str]:
    return NAMES[::-1]


def leave_one_out(root: Path) -> list[str]:
    return NAMES[:2]


def link_to_another(root: Path) -> list[str]:
    (root / NAMES[1]).unlink()
    (root / NAMES[1]).symlink_to(root / NAMES[2])
    return NAMES


CHANGES = [
    change_a_byte,
    lengthen,
    exchange_two,
    rename,
    reverse,
    leave_one_out,
    link_to_another,
]


@pytest.mark.parametrize("trusted", [False, True], ids=["fresh", "kept"])
@pytest.mark.parametrize("change", CHANGES)
def test_any_change_changes_it(
    change: Callable[[Path], list[str]],
    trusted: bool,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if trusted:
        settle(monkeypatch)
    before = look(root)
    status = os.stat(root / NAMES[1])
    names = change(root)
    for name in set(names) & set(NAMES):  # as a copy with the times of another does
        os.utime(root / name, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert look(root, names) != before


def test_labels_change_it(root: Path) -> None:
    assert len({look(root), look(root, labels=[0, 0, 1]), look(root, labels=[0, 1, 1])}) == 3


def test_images_that_moved_keep_it(root: Path, tmp_path: Path) -> None:
    before = look(root)
    shutil.copytree(root, tmp_path / "elsewhere")
    os.utime(tmp_path / "elsewhere" / NAMES[0], (0, 0))
    assert look(tmp_path / "elsewhere") == before
    assert fingerprint_files([str(root / name) for name in NAMES], f"{root}/") == before


def test_a_name_and_a_label_cannot_be_exchanged(root: Path) -> None:
    (root / "a1").write_text("")
    (root / "a").rename(root / "c")
    (root / "a").write_text("")
    assert look(root, ["a1"], ["1"]) != look(root, ["a"], ["11"])


def test_a_second_look_reads_no_file(
    root: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch)
    first = look(root)
    assert sorted(read) == NAMES
    assert look(root) == first
    assert sorted(read) == NAMES
    lengthen(root)
    assert look(root) != first
    assert read[3:] == [NAMES[1]]


def test_what_changed_a_moment_ago_is_read_again(root: Path, read: list[str]) -> None:
    look(root)
    look(root)
    assert len(read) == 6


def test_a_file_that_changes_while_it_is_read_is_read_again(
    root: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch)
    whole = module.open  # type: ignore[attr-defined]

    def changing(path: str, *args: Any, **settings: Any) -> Any:
        file = whole(path, *args, **settings)
        if path.endswith(NAMES[1]):
            lengthen(root)
        return file

    monkeypatch.setattr(module, "open", changing)
    look(root)
    monkeypatch.setattr(module, "open", whole)
    read.clear()
    look(root)
    assert read == [NAMES[1]]


# numpy 1 leaves a damaged file open that it has opened by itself
@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("damage", [b"", b"PK\3\4 damaged", "half", "flip"])
def test_a_damaged_cache_is_no_cache(
    damage: Any, root: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch)
    first, path = look(root), cache_file(str(root))
    assert path is not None
    whole = path.read_bytes()
    if damage == "flip":  # a byte of a digest
        known = next(iter(read_cache(path, str(root)).values()))
        damage = whole.replace(known.digest, b"\0" * 32)
    path.write_bytes(whole[: len(whole) // 2] if damage == "half" else damage)
    read.clear()
    assert look(root) == first
    assert sorted(read) == NAMES


def test_a_cache_that_cannot_be_written_is_no_obstacle(
    root: Path, cache: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch)
    cache.write_text("no folder")
    first = look(root)
    assert look(root) == first
    monkeypatch.setattr(module, "user_cache", no_home)
    assert look(root) == first
    assert len(read) == 9


def no_home() -> Path:
    raise RuntimeError


def test_the_cache_is_written_whole_or_not_at_all(
    root: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch)
    first, path = look(root), cache_file(str(root))
    assert path is not None
    whole = path.read_bytes()

    def full_disk(file: Any, **arrays: Any) -> None:
        file.write(b"begun")
        raise OSError("no space left")

    monkeypatch.setattr(np, "savez", full_disk)
    lengthen(root)
    assert look(root) != first
    assert path.read_bytes() == whole
    assert list(path.parent.iterdir()) == [path]


def test_the_cache_drops_what_is_gone(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch)
    shutil.copytree(root, tmp_path / "other")
    look(root)
    look(tmp_path / "other")
    path = cache_file(str(root))
    assert path is not None
    (root / NAMES[2]).unlink()
    shutil.rmtree(tmp_path / "other")
    lengthen(root)
    look(root, NAMES[1:2])  # of which the others are not asked for
    assert sorted(read_cache(path, str(root))) == NAMES[:2]
    assert list(path.parent.iterdir()) == [path]


def test_the_cache_is_of_so_many_folders(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle(monkeypatch)
    monkeypatch.setattr(module, "ROOTS", 2)
    for place in range(4):
        shutil.copytree(root, tmp_path / str(place))
        look(tmp_path / str(place))
        newest = cache_file(str(tmp_path / str(place)))
        assert newest is not None
        assert newest.exists()
        assert len(list(newest.parent.iterdir())) <= 2


def test_a_file_that_cannot_be_read_is_named(root: Path) -> None:
    (root / "a/link.png").symlink_to("nowhere.png")
    with pytest.raises(UserError, match=r"link.png cannot be read: .*No such file"):
        look(root, ["a/link.png"])


def test_any_name_of_a_file_will_do(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settle(monkeypatch)
    names = [os.fsdecode(b"a/\xe9.png"), "a/\u00e9.png", "a/\n.png"]  # the first is not UTF-8
    for name in names:
        (root / name).touch()
    assert len({look(root, [name]) for name in names}) == 3
    assert look(root, names) == look(root, names)


def of(kind: str, root: Path, change: bool) -> Any:
    """A data set of a kind; `change` changes one of its images and nothing else."""
    if change:
        change_a_byte(root)
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    pixels[0, 0, 0] = change
    if kind == "classes":
        samples = [(str(root / name), int(name[0] == "b")) for name in NAMES]
        return SimpleNamespace(root=str(root), samples=samples)
    if kind == "flat":
        return SimpleNamespace(root=str(root), images=NAMES)
    if kind == "h5":
        images = [("a", "0.png", 0), ("b", "0.png", 1)]
        return SimpleNamespace(h5_path=str(root / NAMES[1]), _data=images)
    return SimpleNamespace(data=pixels, **{kind: [0, 1]})


@pytest.mark.parametrize("kind", ["classes", "flat", "h5", "targets", "labels"])
def test_every_kind_of_data_set_has_one(kind: str, root: Path) -> None:
    first = fingerprint(of(kind, root, change=False))
    assert fingerprint(of(kind, root, change=False)) == first
    assert fingerprint(of(kind, root, change=True)) != first


@pytest.mark.parametrize("kind", ["classes", "h5", "targets", "labels"])
def test_the_labels_of_a_data_set_are_in_it(kind: str, root: Path) -> None:
    dataset = of(kind, root, change=False)
    first = fingerprint(dataset)
    for name, image in (("samples", (str(root / NAMES[0]), 1)), ("_data", ("a", "0.png", 1))):
        if hasattr(dataset, name):
            setattr(dataset, name, [image, *getattr(dataset, name)[1:]])
    for name in {"targets", "labels"} & set(vars(dataset)):
        setattr(dataset, name, [1, 1])
    assert fingerprint(dataset) != first


def test_data_of_another_kind_are_refused() -> None:
    with pytest.raises(UserError, match="image folders, HDF5 files, CIFAR and STL-10"):
        fingerprint(object())
