import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from solo_rekd.images.decoded import cache
from solo_rekd.images.decoded.loader import DecodedImages
from solo_rekd.utils.errors import UserError

MODES = {"rgb.png": "RGB", "l.png": "L", "p.gif": "P", "rgba.png": "RGBA", "cmyk.jpg": "CMYK"}


def write_images(folder: Path, seed: int = 0) -> list[str]:
    """Writes images of every mode and of different sizes."""
    rng = np.random.default_rng(seed)
    (folder / "class").mkdir(parents=True)
    paths = []
    for number, (name, mode) in enumerate(MODES.items()):
        noise = rng.integers(0, 256, (5 + number, 9 - number, 3), dtype=np.uint8)
        paths.append(str(folder / "class" / name))
        Image.fromarray(noise).convert(mode).save(paths[-1])
    return paths


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "images"


@pytest.fixture
def images(root: Path) -> list[str]:
    return write_images(root)


@pytest.fixture
def kept(tmp_path: Path) -> str:
    """The cache."""
    return str(tmp_path / "cache")


def decode(paths: list[str], root: Path, kept: str) -> Path:
    folder = cache.find_or_decode(paths, root, kept)
    assert folder is not None
    return folder


def decoded(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def forget(paths: list[str]) -> None:
    """Removes the files, so that only what was decoded before can be read."""
    for path in paths:
        os.remove(path)


def state(folder: Path) -> list[tuple[str, int, int]]:
    stats = [(path.name, path.stat()) for path in sorted(folder.iterdir())]
    return [(name, stat.st_ino, stat.st_size) for name, stat in stats]


def test_images_are_the_same_pixel_by_pixel(images, root, kept):
    expected = [decoded(path) for path in images]
    read = DecodedImages(decode(images, root, kept), root)
    forget(images)
    for path, array in zip(images, expected, strict=True):
        image = read(path)
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), array)


def test_the_same_images_are_not_decoded_again(images, root, kept):
    folder = decode(images, root, kept)
    before = state(folder)
    assert decode(images, root, kept) == folder
    assert state(folder) == before


def test_images_that_lie_elsewhere_are_the_same(images, root, kept, tmp_path):
    folder = decode(images, root, kept)
    root.rename(tmp_path / "moved")
    moved = [path.replace(str(root), str(tmp_path / "moved")) for path in images]
    assert decode(moved, tmp_path / "moved", kept) == folder
    expected = decoded(moved[0])
    forget(moved)
    read = DecodedImages(folder, tmp_path / "moved")
    np.testing.assert_array_equal(np.asarray(read(moved[0])), expected)


def test_other_images_have_a_folder_of_their_own(images, root, kept, tmp_path):
    others = write_images(tmp_path / "others", seed=1)
    folders = {decode(images, root, kept), decode(others, tmp_path / "others", kept)}
    folders.add(decode(images[1:], root, kept))
    assert len(folders) == 3


def test_a_changed_image_is_decoded_again(images, root, kept):
    decode(images, root, kept)
    Image.new("RGB", (4, 4), "red").save(images[0])
    read = DecodedImages(decode(images, root, kept), root)
    os.remove(images[0])
    assert np.asarray(read(images[0])).shape == (4, 4, 3)
    assert not list(Path(kept).glob("*.unfinished"))


def test_images_that_changed_places_are_decoded_again(root, kept):
    """Of equal length and times, as after a copy that keeps them."""
    root.mkdir()
    paths = [str(root / f"{number}.bmp") for number in range(2)]
    for path, colour in zip(paths, ("red", "blue"), strict=True):
        Image.new("RGB", (4, 4), colour).save(path)
    decode(paths, root, kept)
    times = [os.stat(path).st_mtime_ns for path in paths]
    one, other = (Path(path).read_bytes() for path in paths)
    for path, content, moment in zip(paths, (other, one), times, strict=True):
        Path(path).write_bytes(content)
        os.utime(path, ns=(moment, moment))
    read = DecodedImages(decode(paths, root, kept), root)
    forget(paths)
    assert read(paths[0]).getpixel((0, 0)) == (0, 0, 255)


def test_another_decoder_decodes_again(images, root, kept, monkeypatch):
    folder = decode(images, root, kept)
    monkeypatch.setattr(cache.features, "version", lambda name: "0.1")
    assert decode(images, root, kept) != folder


def shorten(content: bytes) -> bytes:
    return content[:-7]


def zero(content: bytes) -> bytes:
    return bytes(len(content))


@pytest.mark.parametrize("damaged", ["index.npy", "pixels.bin", "facts.json"])
@pytest.mark.parametrize("damage", [shorten, zero])
def test_a_damaged_folder_is_written_anew(damage, damaged, images, root, kept):
    folder = decode(images, root, kept)
    whole = {path: path.read_bytes() for path in folder.iterdir()}
    (folder / damaged).write_bytes(damage(whole[folder / damaged]))
    decode(images, root, kept)
    assert {path: path.read_bytes() for path in folder.iterdir()} == whole


def test_more_than_a_part_of_the_images(root, kept, monkeypatch):
    monkeypatch.setattr(cache, "PART", 3)
    root.mkdir()
    paths = [str(root / f"{number}.png") for number in range(8)]
    for number, path in enumerate(paths):
        Image.new("RGB", (2, 2), (number, 0, 0)).save(path)
    read = DecodedImages(decode(paths, root, kept), root)
    forget(paths)
    assert [read(path).getpixel((0, 0))[0] for path in paths] == list(range(8))


@pytest.mark.parametrize("sample", [1, 2])
def test_images_of_more_than_8_bits_are_refused(sample, tmp_path, kept, monkeypatch):
    monkeypatch.setattr(cache, "SAMPLE", sample)  # the first image, or both
    paths = [str(tmp_path / name) for name in ("plain.png", "deep.png")]
    Image.new("RGB", (64, 64)).save(paths[0])
    Image.fromarray(np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)).save(paths[1])
    with pytest.raises(UserError, match=r"deep\.png has I(;16)? pixels"):
        cache.find_or_decode(paths, tmp_path, kept)


def test_a_sample_tells_the_size_of_all(tmp_path):
    Image.new("RGB", (10, 20)).save(tmp_path / "one.png")
    many = [str(tmp_path / "one.png")] * 1000
    assert cache.estimate_bytes(many) == 1000 * 10 * 20 * 3


def test_a_damaged_image_is_named_and_nothing_is_left(images, root, kept):
    Path(images[2]).write_bytes(Path(images[2]).read_bytes()[:40])
    with pytest.raises(UserError, match=r"p\.gif cannot be decoded"):
        cache.find_or_decode(images, root, kept)
    assert not [path for path in Path(kept).iterdir() if path.suffix != ".lock"]


def test_too_many_bytes_are_left_undecoded(images, root, caplog, monkeypatch):
    size = sum(decoded(path).size for path in images)
    caplog.set_level("INFO", "solo_rekd")
    monkeypatch.setattr(cache, "LIMIT", size - 1)
    assert cache.find_or_decode(images, root) is None
    assert "every epoch decodes them again" in caplog.text
    monkeypatch.setattr(cache, "LIMIT", size)
    assert cache.find_or_decode(images, root) is not None


def test_the_longest_unused_is_removed_to_make_room(tmp_path, monkeypatch):
    sets = []
    for seed in range(3):
        root = tmp_path / str(seed)
        sets.append((write_images(root, seed), root))
    size = sum(decoded(path).size for path in sets[0][0])
    monkeypatch.setattr(cache, "LIMIT", 3 * size)  # of two, with their indexes
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    first, second = (cache.find_or_decode(*each) for each in sets[:2])
    os.utime(first / "facts.json", (1, 1))
    assert cache.find_or_decode(*sets[0]) == first  # it is used again
    os.utime(second / "facts.json", (1, 1))
    third = cache.find_or_decode(*sets[2])
    assert (first.exists(), second.exists(), third.exists()) == (True, False, True)


def test_what_is_read_is_not_removed(tmp_path, monkeypatch):
    paths = write_images(tmp_path / "images")
    size = sum(decoded(path).size for path in paths)
    monkeypatch.setattr(cache, "LIMIT", int(1.5 * size))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    folder = cache.find_or_decode(paths, tmp_path / "images")
    read = DecodedImages(folder, tmp_path / "images")
    others = write_images(tmp_path / "others", seed=1), tmp_path / "others"
    assert cache.find_or_decode(*others) is None
    assert folder.exists()
    del read
    assert cache.find_or_decode(*others) is not None
    assert not folder.exists()


def test_a_loader_whose_folder_is_gone_decodes(images, root, kept, caplog):
    folder = decode(images, root, kept)
    for path in folder.iterdir():
        path.unlink()
    read = DecodedImages(folder, root)
    np.testing.assert_array_equal(np.asarray(read(images[0])), decoded(images[0]))
    assert "cannot be read" in caplog.text


def test_a_cache_that_cannot_be_is_refused_where_it_was_asked_for(
    images, root, tmp_path, monkeypatch, caplog
):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"^decoded_images='.*file/x' cannot be written: Not a dir"):
        cache.find_or_decode(images, root, str(tmp_path / "file" / "x"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache.find_or_decode(images, root) is None
    assert "none can be kept" in caplog.text


WRITE = """
import sys, logging
logging.basicConfig(level="INFO", format="%(message)s")
from pathlib import Path
from solo_rekd.images.decoded import cache
decode = cache._pixels
def slow(path, skip):
    import time
    time.sleep(0.1)
    sys.stdout.write("decoded\\n")
    sys.stdout.flush()
    return decode(path, skip)
cache._pixels = slow
root, kept = sys.argv[1:]
print(cache.find_or_decode(sorted(map(str, Path(root).glob("*/*"))), root, kept), flush=True)
"""


@pytest.mark.slow
def test_of_two_processes_at_once_one_decodes(images, root, kept):
    command = [sys.executable, "-c", WRITE, str(root), kept]
    ran = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120)[0].split() for process in ran]
    assert [process.returncode for process in ran] == [0, 0]
    assert sorted(words.count("decoded") for words in said) == [0, len(images)]
    assert said[0][-1] == said[1][-1]


@pytest.mark.slow
def test_what_a_killed_process_left_is_removed(images, root, kept):
    command = [sys.executable, "-c", WRITE, str(root), kept]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("decoded")
    process.kill()
    process.communicate()
    (left,) = Path(kept).glob("*.unfinished")
    folder = decode(images, root, kept)
    assert json.loads((folder / "facts.json").read_text())["images"] == len(images)
    assert left.exists()  # it may be of a process at work
    os.utime(left, (time.time() - 2 * cache.ABANDONED,) * 2)
    Image.new("RGB", (4, 4), "red").save(images[0])
    decode(images, root, kept)
    assert not left.exists()
