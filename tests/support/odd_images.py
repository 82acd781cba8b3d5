"""What looks like a mistake and is none: odd images, names, sizes and flags."""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from mistakes import read_bases
from PIL import Image

NAME = "mes=photos, été"


def write_odd_images(folder: Path) -> None:
    """Adds images of every kind that is read to a class folder, and files that are none."""
    image = Image.open(folder / "00.png").convert("RGB")
    image.convert("CMYK").save(folder / "cmyk.jpg")
    image.convert("L").save(folder / "grey.png")
    image.convert("1").save(folder / "one bit.png")
    image.convert("P").save(folder / "palette.png")
    image.convert("P").save(folder / "transparent.png", transparency=3)
    image.convert("RGBA").save(folder / "rgba.webp")
    image.save(folder / "animated.webp", save_all=True, append_images=[image.rotate(90)] * 2)
    image.save(folder / "pages.tif", save_all=True, append_images=[image])
    (exif := Image.Exif())[0x0112] = 6
    image.resize((40, 24)).save(folder / "upright.jpg", exif=exif)
    (folder / "00.png").rename(folder / "png.jpg")
    Image.new("RGB", (1, 1)).save(folder / "one pixel.png")
    (folder / "notes.txt").write_text("no image")
    (folder / ".DS_Store").touch()


def check_no_mistake(
    ready: Path,
    folder: Path,
    solo: Callable[..., tuple[int, str, str]],
    patch: pytest.MonkeyPatch,
    log: pytest.LogCaptureFixture,
) -> None:
    """Trains and evaluates where everything is odd.

    Args:
        ready: a folder of `make_ready`.
        folder: gets a copy of it.
        solo: runs a command line: exit code, standard output, standard error.
        patch: of the test.
        log: what is logged.
    """
    shutil.copytree(ready, folder)
    patch.chdir(folder)
    Path("images").rename(NAME)
    write_odd_images(folder / NAME / "train" / "a")
    bases = {name: shlex.split(line) for name, line in read_bases().items()}
    # the student is larger than the teacher; the last batch of the validation is of one image
    odd = ["--data_dir", NAME, "--checkpoint_dir", "out, é=1", "--batch_size", "7"]
    odd += ["--max_epochs", "9", "--max_epochs", "1"]
    code, _, said = solo(*bases["pretrain"], *odd, "--encoder", "resnet18", "--queue_size", "7")
    assert code == 0, said
    assert "2 of 44 files are left out" in log.text
    (checkpoint,) = folder.glob("out, é=1/rekd/*/*.ckpt")
    file = ["--pretrained_feature_extractor", str(checkpoint)]
    code, out, said = solo(*bases["linear"], *odd, *file)
    assert (code, out.splitlines()[-1].startswith("linear top-1 ")) == (0, True), said
    code, out, said = solo(*bases["knn"], *file, "--data_dir", NAME, "--batch_size", "7")
    assert (code, out.splitlines()[-1].startswith("kNN top-1 ")) == (0, True), said
