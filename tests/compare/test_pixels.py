import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms.functional import pil_to_tensor

from solo_rekd.compare import pixels
from solo_rekd.images import sets
from solo_rekd.images.read import load_rgb
from solo_rekd.images.sets import ClassFolders
from solo_rekd.utils.errors import UserError

LIMIT = 1 << 20
MODES = {"rgb.png": "RGB", "l.png": "L", "p.gif": "P", "rgba.png": "RGBA", "cmyk.jpg": "CMYK"}


@pytest.fixture(autouse=True)
def loader() -> Iterator[None]:
    """Gives the data sets their own reader of images back."""
    yield
    sets.read_with(load_rgb)


def read(path: str) -> Image.Image:
    """Reads an image as a data set that is built now reads it."""
    return sets._loader(path)


@pytest.fixture
def images(tmp_path: Path) -> list[str]:
    """Images of every mode and of different sizes."""
    rng = np.random.default_rng(0)
    (tmp_path / "images" / "class").mkdir(parents=True)
    paths = []
    for number, (name, mode) in enumerate(MODES.items()):
        noise = rng.integers(0, 256, (5 + number, 9 - number, 3), dtype=np.uint8)
        paths.append(str(tmp_path / "images" / "class" / name))
        Image.fromarray(noise).convert(mode).save(paths[-1])
    return paths


def decoded(path: str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def forget(paths: list[str]) -> None:
    """Removes the files, so that only what was decoded before can be read."""
    for path in paths:
        os.remove(path)


def test_images_are_the_same_pixel_by_pixel(images, tmp_path):
    expected = [decoded(path) for path in images]
    assert pixels.write(images, tmp_path / "pixels", LIMIT)
    pixels.install(tmp_path / "pixels")
    forget(images)
    for path, array in zip(images, expected, strict=True):
        image = read(path)
        assert image.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(image), array)


@pytest.mark.parametrize("start", ["fork", "spawn", "forkserver"])
def test_the_workers_of_a_loader_read_them(start, images, tmp_path):
    (gif,) = (path for path in images if path.endswith(".gif"))  # of no ending that is read
    os.remove(gif)
    images.remove(gif)
    listed = [path for path, _ in ClassFolders(tmp_path / "images").samples]
    assert sorted(listed) == sorted(images)
    expected = [decoded(path) for path in listed]
    pixels.write(listed, tmp_path / "pixels", LIMIT)
    pixels.install(tmp_path / "pixels")
    dataset = ClassFolders(tmp_path / "images", pil_to_tensor)
    forget(listed)
    loader = DataLoader(dataset, num_workers=1, multiprocessing_context=start)
    read = [batch[0][0].permute(1, 2, 0) for batch in loader]
    for array, image in zip(expected, read, strict=True):
        np.testing.assert_array_equal(image.numpy(), array)


def test_an_image_that_is_not_among_them_is_decoded(images, tmp_path):
    pixels.write(images[1:], tmp_path / "pixels", LIMIT)
    pixels.install(tmp_path / "pixels")
    image = read(images[0])
    np.testing.assert_array_equal(np.asarray(image), decoded(images[0]))


def test_the_same_images_are_not_decoded_again(images, tmp_path):
    pixels.write(images, tmp_path / "pixels", LIMIT)
    before = (tmp_path / "pixels" / "pixels.bin").stat()
    assert pixels.write(images, tmp_path / "pixels", LIMIT)
    after = (tmp_path / "pixels" / "pixels.bin").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_a_changed_image_is_decoded_again(images, tmp_path):
    pixels.write(images, tmp_path / "pixels", LIMIT)
    Image.new("RGB", (4, 4), "red").save(images[0])
    pixels.write(images, tmp_path / "pixels", LIMIT)
    pixels.install(tmp_path / "pixels")
    os.remove(images[0])
    assert np.asarray(read(images[0])).shape == (4, 4, 3)
    assert not (tmp_path / "pixels.unfinished").exists()


def test_images_that_changed_places_are_decoded_again(images, tmp_path):
    """Of equal length and times, as after a copy that keeps them."""
    paths = [str(tmp_path / "images" / f"{number}.bmp") for number in range(2)]
    for path, colour in zip(paths, ("red", "blue"), strict=True):
        Image.new("RGB", (4, 4), colour).save(path)
    pixels.write(paths, tmp_path / "pixels", LIMIT)
    times = [os.stat(path).st_mtime_ns for path in paths]
    one, other = (Path(path).read_bytes() for path in paths)
    for path, content, time in zip(paths, (other, one), times, strict=True):
        Path(path).write_bytes(content)
        os.utime(path, ns=(time, time))
    pixels.write(paths, tmp_path / "pixels", LIMIT)
    pixels.install(tmp_path / "pixels")
    forget(paths)
    assert read(paths[0]).getpixel((0, 0)) == (0, 0, 255)


def test_another_decoder_decodes_again(images, tmp_path, monkeypatch):
    pixels.write(images, tmp_path / "pixels", LIMIT)
    before = (tmp_path / "pixels" / "index.json").read_text()
    monkeypatch.setattr(pixels.features, "version", lambda name: "0.1")
    pixels.write(images, tmp_path / "pixels", LIMIT)
    assert (tmp_path / "pixels" / "index.json").read_text() != before


def shorten(content: bytes) -> bytes:
    return content[:-7]


def zero(content: bytes) -> bytes:
    return bytes(len(content))


@pytest.mark.parametrize("damaged", ["index.json", "pixels.bin"])
@pytest.mark.parametrize("damage", [shorten, zero])
def test_a_damaged_folder_is_written_anew(damage, damaged, images, tmp_path):
    pixels.write(images, tmp_path / "pixels", LIMIT)
    whole = {path: path.read_bytes() for path in (tmp_path / "pixels").iterdir()}
    file = tmp_path / "pixels" / damaged
    file.write_bytes(damage(whole[file]))
    pixels.write(images, tmp_path / "pixels", LIMIT)
    assert {path: path.read_bytes() for path in (tmp_path / "pixels").iterdir()} == whole


def test_more_than_a_part_of_the_images(tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "PART", 3)
    paths = [str(tmp_path / f"{number}.png") for number in range(8)]
    for number, path in enumerate(paths):
        Image.new("RGB", (2, 2), (number, 0, 0)).save(path)
    pixels.write(paths, tmp_path / "pixels", LIMIT)
    pixels.install(tmp_path / "pixels")
    forget(paths)
    reds = [read(path).getpixel((0, 0))[0] for path in paths]
    assert reds == list(range(8))


@pytest.mark.parametrize("sample", [1, 2])
def test_images_of_more_than_8_bits_are_refused(sample, tmp_path, monkeypatch):
    monkeypatch.setattr(pixels, "SAMPLE", sample)  # the first image, or both
    paths = [str(tmp_path / name) for name in ("plain.png", "deep.png")]
    Image.new("RGB", (64, 64)).save(paths[0])
    Image.fromarray(np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)).save(paths[1])
    with pytest.raises(UserError, match=r"deep\.png has I(;16)? pixels"):
        pixels.write(paths, tmp_path / "pixels", LIMIT)


def test_a_further_image_is_decoded_too(images, tmp_path):
    pixels.write(images[1:], tmp_path / "pixels", LIMIT)
    pixels.write(images, tmp_path / "pixels", LIMIT)
    pixels.install(tmp_path / "pixels")
    expected = decoded(images[0])
    os.remove(images[0])
    np.testing.assert_array_equal(np.asarray(read(images[0])), expected)


def test_too_many_bytes_are_left_undecoded(images, tmp_path, caplog):
    size = sum(decoded(path).size for path in images)
    assert pixels.estimate_bytes(images) == size
    caplog.set_level("INFO", "solo_rekd")
    assert not pixels.write(images, tmp_path / "pixels", size - 1)
    assert not (tmp_path / "pixels").exists()
    assert "every run decodes them anew" in caplog.text
    assert pixels.write(images, tmp_path / "pixels", size)


def test_a_sample_tells_the_size_of_all(tmp_path):
    Image.new("RGB", (10, 20)).save(tmp_path / "one.png")
    many = [str(tmp_path / "one.png")] * 1000
    assert pixels.estimate_bytes(many) == 1000 * 10 * 20 * 3


def test_a_damaged_image_is_named_and_nothing_is_left(images, tmp_path):
    Path(images[2]).write_bytes(Path(images[2]).read_bytes()[:40])
    with pytest.raises(UserError, match=r"p\.gif cannot be decoded"):
        pixels.write(images, tmp_path / "pixels", LIMIT)
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
