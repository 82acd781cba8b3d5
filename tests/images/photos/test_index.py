import json
import multiprocessing
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from torch.utils.data import DataLoader

from solo_rekd.images.photos import PhotoIndex, build_index
from solo_rekd.images.photos import index as index_module
from solo_rekd.images.photos.index import FACTS, PARTS, is_index
from solo_rekd.utils.errors import UserError


@pytest.fixture
def index(good: Path, tmp_path: Path) -> PhotoIndex:
    return build_index([good], tmp_path / "index")


def test_it_is_a_sequence_of_paths(index: PhotoIndex, good: Path) -> None:
    paths = [str(path) for path in good.rglob("*") if path.suffix in (".jpg", ".TIFF")]
    assert {index[0], index[-1]} == set(paths) and len(index) == 6
    assert [*index] == [index[place] for place in range(6)] == index[:]
    assert index[4:1:-2] == [index[4], index[2]]
    assert all(type(path) is str and os.path.isfile(path) for path in index)
    with pytest.raises(IndexError):
        index[6]


def test_names_may_be_anything_that_a_file_can_be_called(tmp_path: Path) -> None:
    names = [b"\xff.jpg", 'ü\n,".jpg'.encode(), b" .jpg", b"#.jpg", b"$(x).jpg"]
    for name in names:
        path = os.path.join(os.fsencode(tmp_path), b"p", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(name)
    index = build_index([tmp_path / "p"], tmp_path / "index", headers=False)
    assert sorted(os.fsencode(os.path.basename(path)) for path in index) == sorted(names)
    assert [*PhotoIndex(tmp_path / "index")] == [*index]


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_the_workers_of_a_loader_share_it(start: str, index: PhotoIndex) -> None:
    loader: DataLoader = DataLoader(index, 6, num_workers=1, multiprocessing_context=start)  # type: ignore[arg-type]
    assert [*loader] == [[*index]]


def test_a_copy_is_of_the_same_index_or_none(index: PhotoIndex, good: Path) -> None:
    copied = pickle.dumps(index)
    assert [*pickle.loads(copied)] == [*index]
    assert len(copied) < 1000
    (good / "0.jpg").unlink()
    build_index([good], index.folder)
    with pytest.raises(UserError, match="a different index"):
        pickle.loads(copied)
    assert len([*index]) == 6  # what is open stays as it was


def test_parts_are_indexes_of_their_own(index: PhotoIndex) -> None:
    held_out, training = index.split(2, seed=1)
    assert (len(held_out), len(training)) == (2, 4)
    assert sorted([*held_out, *training]) == sorted(index)
    for part in (held_out, training):
        assert is_index(part.folder)
        assert [*PhotoIndex(part.folder)] == [*part] == [path for path in index if path in [*part]]
        assert part.root == index.root
    again = [[*part] for part in index.split(2, seed=1)]
    assert again == [[*held_out], [*training]]
    assert any([*index.split(2, seed=seed)[0]] != [*held_out] for seed in range(2, 9))


def test_parts_follow_a_new_index(index: PhotoIndex, good: Path) -> None:
    index.split(2, seed=1)
    (good / "0.jpg").unlink()
    changed = build_index([good], index.folder)
    assert sum(map(len, changed.split(2, seed=1))) == 5


def test_a_damaged_part_is_written_again(index: PhotoIndex) -> None:
    held_out, _ = index.split(2, seed=1)
    paths = [*held_out]
    for path in held_out.folder.glob("*.bin"):
        path.write_bytes(b"")
    assert [*index.split(2, seed=1)[0]] == paths


@pytest.mark.parametrize("number", [0, 6, -1])
def test_a_split_leaves_something_on_both_sides(number: int, index: PhotoIndex) -> None:
    with pytest.raises(UserError, match=f"held out={number} is not allowed.* from 1 to 5"):
        index.split(number, seed=0)
    assert not (index.folder / PARTS).exists()


def no_facts(folder: Path) -> None:
    (folder / FACTS).unlink()


def other_format(folder: Path) -> None:
    facts = json.loads((folder / FACTS).read_text())
    (folder / FACTS).write_text(json.dumps(facts | {"format": 99}))


def no_json(folder: Path) -> None:
    (folder / FACTS).write_text("{")


def a_list(folder: Path) -> None:
    (folder / FACTS).write_text("[]")


def short_names(folder: Path) -> None:
    (names,) = folder.glob("*.bin")
    names.write_bytes(names.read_bytes()[:-1])


def hardly_any_names(folder: Path) -> None:
    (names,) = folder.glob("*.bin")
    names.write_bytes(b"1234567")


def no_names(folder: Path) -> None:
    (names,) = folder.glob("*.bin")
    names.unlink()


DAMAGES = (no_facts, other_format, no_json, a_list, short_names, hardly_any_names, no_names)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_damaged_index_is_refused(damage: Callable[[Path], None], index: PhotoIndex) -> None:
    damage(index.folder)
    with pytest.raises(UserError, match="is not a readable index of photos: build it again"):
        PhotoIndex(index.folder)


def test_an_interrupted_build_leaves_the_earlier_index(
    index: PhotoIndex, good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [*index]
    (good / "0.jpg").unlink()

    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(index_module, "write_json", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_index([good], index.folder)
    assert [*PhotoIndex(index.folder)] == before
    monkeypatch.undo()
    assert len(build_index([good], index.folder)) == 5
    assert len([*index.folder.glob("*.bin")]) == 1


def test_two_builders_of_one_folder(good: Path, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    builders = [
        context.Process(target=build_index, args=([good], tmp_path / "index")) for _ in range(3)
    ]
    for builder in builders:
        builder.start()
    for builder in builders:
        builder.join(60)
        assert builder.exitcode == 0
    assert len(PhotoIndex(tmp_path / "index")) == 6


def test_thousands_are_listed_and_opened_fast(tmp_path: Path) -> None:
    for folder in range(10):
        (tmp_path / "many" / str(folder)).mkdir(parents=True)
        for name in range(500):
            (tmp_path / "many" / str(folder) / f"{name}.jpg").touch()
    started = time.process_time()
    index = build_index([tmp_path / "many"], tmp_path / "index", headers=False)
    assert len(index) == 5000
    assert time.process_time() - started < 2  # a million in 400 s: far above what it takes
    started = time.process_time()
    PhotoIndex(tmp_path / "index")
    assert time.process_time() - started < 0.1
