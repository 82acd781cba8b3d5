"""Photos as people have them: nested, of many kinds, some of them broken."""

import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

GOOD = ("0.jpg", "2019/may/1.JPG", "2019/may/2.png", "2020/3.webp", "2020/4.bmp", "2020/5.TIFF")


def write(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path)


def huge_png(side: int) -> bytes:
    """The beginning of a PNG that says that it has that side."""
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header
    return start + struct.pack(">I", zlib.crc32(header)) + struct.pack(">I", 0) + b"IDAT"


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A folder of the six photos `GOOD`, and of what is none."""
    root = tmp_path / "good"
    for seed, name in enumerate(GOOD):
        write(root / name, seed)
    write(root / ".thumbnails" / "0.png")
    for name in (".DS_Store", "2020/._4.bmp", "2019/notes.md", "2019/film.MOV"):
        (root / name).touch()
    (root / "2019" / "back").symlink_to(root, target_is_directory=True)
    return root


@pytest.fixture
def messy(good: Path, tmp_path: Path) -> Path:
    """The same with photos whose headers tell that they are broken, and one that is cut off."""
    root = tmp_path / "messy"
    shutil.copytree(good, root, symlinks=True)
    (root / "2019" / "back").unlink()
    (root / "2020" / "empty.jpg").touch()
    (root / "2020" / "letter.jpeg").write_text("Dear all")
    (root / "2020" / "huge.png").write_bytes(huge_png(60_000))
    Image.fromarray(np.full((9, 9), 30_000, np.uint16)).save(root / "2020" / "deep.png")
    (root / "2020" / "begun.jpg").write_bytes((root / "0.jpg").read_bytes()[:12])
    (root / "2020" / "cut.png").write_bytes((root / "2019/may/2.png").read_bytes()[:-200])
    (root / "2021").mkdir()
    (root / "2021" / "twice.jpg").symlink_to(root / "0.jpg")
    (root / "2021" / "again.png").hardlink_to(root / "2019/may/2.png")
    return root
