import os
import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
import pytest
from PIL import Image
from torchvision.datasets.folder import pil_loader

from solo_rekd.images.read import load_rgb, opened
from solo_rekd.utils.errors import UserError

NOISE = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
DEEP = np.linspace(0, 65535, 54).reshape(6, 9)
# by name of the file: mode, and what `save` is told
PLAIN = {
    "rgb.jpg": ("RGB", {}),
    "grey.jpg": ("L", {}),
    "cmyk.jpg": ("CMYK", {}),
    "rgb.png": ("RGB", {}),
    "grey.png": ("L", {}),
    "palette.png": ("P", {}),
    "transparent-palette.png": ("P", {"transparency": 3}),
    "rgba.png": ("RGBA", {}),
    "grey-alpha.png": ("LA", {}),
    "one-bit.png": ("1", {}),
    "rgb.tif": ("RGB", {"compression": "tiff_lzw"}),
    "cmyk.tif": ("CMYK", {}),
    "lab.tif": ("LAB", {}),
    "rgba.webp": ("RGBA", {}),
    "rgb.bmp": ("RGB", {}),
    "rgb.ppm": ("RGB", {}),
}
if int(PIL.__version__.partition(".")[0]) >= 13:  # an older Pillow cannot read what it wrote
    PLAIN["ycbcr.tif"] = ("YCbCr", {})


def chunk(kind: bytes, content: bytes) -> bytes:
    checked = kind + content
    return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))


def write_png(path: Path, shape: tuple[int, int], bits: int, color: int, pixels: bytes) -> None:
    """Writes a PNG of a kind that Pillow does not write; `pixels` begin each row with a 0."""
    header = chunk(b"IHDR", struct.pack(">II5B", *shape[::-1], bits, color, 0, 0, 0))
    content = chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + content)


@pytest.mark.parametrize("name", PLAIN)
def test_an_image_of_8_bits_has_torchvisions_pixels(name: str, tmp_path: Path) -> None:
    mode, options = PLAIN[name]
    image = Image.fromarray(NOISE)
    if mode == "LAB":
        image = Image.frombytes("LAB", image.size, NOISE.tobytes())
    image.convert(mode).save(path := tmp_path / name, **options)
    read = load_rgb(str(path))
    assert read.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(read), np.asarray(pil_loader(str(path))))


def test_what_lies_under_transparency_is_kept(tmp_path: Path) -> None:
    pixels = np.dstack([NOISE, np.zeros((6, 9), np.uint8)])
    Image.fromarray(pixels, "RGBA").save(path := tmp_path / "image.png")
    np.testing.assert_array_equal(np.asarray(load_rgb(path)), NOISE)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("grey.png", np.uint16),
        ("grey.tif", np.uint16),
        ("signed.tif", np.int32),
        ("float.tif", np.float32),
    ],
)
def test_deep_grey_is_refused(name: str, kind: type, tmp_path: Path) -> None:
    Image.fromarray(DEEP.astype(kind)).save(path := tmp_path / name)
    with pytest.raises(UserError, match=rf"{name} has (I|I;16|F) pixels: .* 8 bits"):
        load_rgb(path)


def test_deep_grey_of_a_pgm_is_refused(tmp_path: Path) -> None:
    (path := tmp_path / "a.pgm").write_bytes(b"P5 9 6 65535\n" + DEEP.astype(">u2").tobytes())
    with pytest.raises(UserError, match="8 bits"):
        load_rgb(path)


def test_deep_colours_keep_their_high_byte(tmp_path: Path) -> None:
    low = np.full_like(NOISE, 0x9C)
    rows = np.stack([NOISE, low], axis=-1).reshape(6, -1)
    pixels = b"".join(b"\0" + row.tobytes() for row in rows)
    write_png(tmp_path / "deep.png", (6, 9), 16, 2, pixels)
    np.testing.assert_array_equal(np.asarray(load_rgb(tmp_path / "deep.png")), NOISE)


@pytest.mark.parametrize("name", ["image.jpg", "image.png", "image.webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_upright(orientation: int, name: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.fromarray(np.kron(NOISE, np.ones((16, 16, 1), np.uint8)))
    image.save(plain := tmp_path / f"plain-{name}")
    image.save(path := tmp_path / name, exif=exif)
    pixels = np.asarray(load_rgb(plain))
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    down, right = {2: (1, -1), 3: (-1, -1), 4: (-1, 1), 6: (1, -1), 7: (-1, -1), 8: (-1, 1)}.get(
        orientation, (1, 1)
    )
    np.testing.assert_array_equal(np.asarray(load_rgb(path)), pixels[::down, ::right])


def test_damaged_exif_costs_nothing_but_itself(tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(path := tmp_path / "image.jpg", exif=b"Exif\0\0II*\0\xff\xff\0\0xy")
    np.testing.assert_array_equal(np.asarray(load_rgb(path)), np.asarray(pil_loader(str(path))))


@pytest.mark.parametrize("name", ["animated.png", "animated.webp", "pages.tif"])
def test_of_several_pictures_the_first_is_read(name: str, tmp_path: Path) -> None:
    image, other = Image.fromarray(NOISE), Image.new("RGB", (9, 6))
    options = {"lossless": True} if name.endswith("webp") else {}
    image.save(path := tmp_path / name, save_all=True, append_images=[other], **options)
    np.testing.assert_array_equal(np.asarray(load_rgb(path)), NOISE)


def test_the_content_decides_and_not_the_ending(tmp_path: Path) -> None:
    Image.fromarray(NOISE).save(tmp_path / "image.png")
    (tmp_path / "image.png").rename(path := tmp_path / "image.jpg")
    np.testing.assert_array_equal(np.asarray(load_rgb(path)), NOISE)


def test_one_pixel_is_an_image(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), (1, 2, 3)).save(path := tmp_path / "image.png")
    assert load_rgb(path).getpixel((0, 0)) == (1, 2, 3)


def truncated(path: Path) -> None:
    Image.fromarray(NOISE).save(path)
    path.write_bytes(path.read_bytes()[:-40])


def damaged_text(path: Path) -> None:
    """A PNG whose compressed text says that it is compressed in an unknown way."""
    Image.new("RGB", (4, 4)).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:33] + chunk(b"zTXt", b"key\0\1") + whole[33:])


def enormous(path: Path) -> None:
    """A PNG that claims to be of 50,000 x 50,000 px."""
    write_png(path, (50_000, 50_000), 8, 2, b"")


def without_pixels(path: Path) -> None:
    write_png(path, (0, 4), 8, 2, b"")


@pytest.mark.parametrize("damage", [truncated, damaged_text, enormous])
def test_a_damaged_image_is_named(damage: Callable[[Path], None], tmp_path: Path) -> None:
    damage(path := tmp_path / "image.png")
    with pytest.raises(UserError, match=r"image\.png cannot be decoded: ") as caught:
        load_rgb(path)
    assert caught.value.__cause__ is not None  # the decoder's own traceback


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>"])
def test_what_is_no_image_is_named(content: bytes, tmp_path: Path) -> None:
    (path := tmp_path / "image.png").write_bytes(content)
    with pytest.raises(UserError, match=r"image\.png cannot be decoded: "), opened(path):
        pass


def test_an_image_without_pixels_is_refused(tmp_path: Path) -> None:
    without_pixels(path := tmp_path / "image.png")
    with pytest.raises(UserError, match=r"image\.png (has no pixels|cannot be decoded)"):
        load_rgb(path)


def missing(path: Path) -> None:
    pass


def dangling(path: Path) -> None:
    path.symlink_to("nowhere.png")


def forbidden(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path.touch(0)


def broken_disk(path: Path) -> None:
    """A file of Linux that cannot be read from its beginning."""
    if not os.path.exists("/proc/self/mem"):
        pytest.skip("no file here whose reading fails")
    path.symlink_to("/proc/self/mem")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (missing, "No such file"),
        (dangling, "No such file"),
        (Path.mkdir, "Is a directory"),
        (forbidden, "Permission denied"),
        (broken_disk, "Input/output error"),
    ],
)
def test_what_cannot_be_read_has_the_systems_reason(
    make: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    make(path := tmp_path / "image.png")
    with pytest.raises(UserError, match=rf"^{re.escape(str(path))} cannot be read: {reason}"):
        load_rgb(path)
