import shutil

import numpy as np
import pytest
from PIL import Image

from solo_rekd.compare.images import default_crop_size, find_images, fingerprint
from solo_rekd.images import files
from solo_rekd.utils.errors import UserError


def test_images_are_found_as_the_host_finds_them(data):
    images = find_images(data, "train", "two/../val")
    assert images.classes == ["a", "b", "c"]
    assert (len(images.train), len(images.val)) == (48, 24)
    assert images.train[0] == str(data / "train" / "a" / "00.png")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train", "two/val"), "train and two/val hold different classes: only one of them has c"),
        (("train", "nowhere"), "nowhere cannot be read: No such file or directory"),
        (("flat", "val"), "flat has no class folders"),
        (("one", "one"), "one has only one class: an evaluation needs two or more"),
        (("empty", "val"), "empty has no image in the class folders a"),
    ],
)
def test_what_cannot_be_compared_is_refused(names, message, data, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data" / "empty" / "a").mkdir(parents=True)
    shutil.copytree(data / "train" / "a", tmp_path / "data" / "one" / "a")
    with pytest.raises(UserError) as raised:
        find_images(tmp_path / "data", *names)
    assert message in str(raised.value)


def test_a_fingerprint_changes_with_the_images(data, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)

    def look():
        return fingerprint(find_images(folder, "train", "val"), folder)

    first = look()
    assert first.startswith("48 + 24, sha256 ")
    (folder / "train" / "a" / "00.png").touch()
    assert look() == first
    (folder / "train" / "a" / "00.png").rename(folder / "train" / "a" / "new.png")
    renamed = look()
    Image.new("RGB", (32, 32)).save(folder / "train" / "a" / "new.png")
    other = look()
    swapped = [folder / "val" / "a" / name for name in ("00.png", "01.png")]
    one, two = (path.read_bytes() for path in swapped)
    swapped[0].write_bytes(two)
    swapped[1].write_bytes(one)
    assert len({first, renamed, other, look()}) == 4
    (folder / "val" / "b" / "link.png").symlink_to("nowhere.png")
    with pytest.raises(UserError, match=r"link.png cannot be read: No such file"):
        look()


def test_data_must_be_a_folder(tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        find_images(tmp_path / "none", "train", "val")


@pytest.mark.parametrize(("size", "side"), [((64, 32), 64), ((65, 32), 224), ((500, 375), 224)])
def test_the_crop_is_a_small_images_own_side(size, side, tmp_path):
    Image.new("RGB", size).save(tmp_path / "image.png")
    assert default_crop_size(str(tmp_path / "image.png")) == side


def test_what_is_no_image_is_refused(tmp_path):
    (tmp_path / "image.png").write_text("text")
    with pytest.raises(UserError, match=r"image.png cannot be decoded"):
        default_crop_size(str(tmp_path / "image.png"))


def test_hidden_folders_are_no_classes_and_what_is_left_out_is_said(
    data, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(files, "_reported", set())
    shutil.copytree(data, tmp_path / "data")
    for split in ("train", "val"):
        shutil.copytree(tmp_path / "data" / split / "a", tmp_path / "data" / split / ".hidden")
    Image.new("RGB", (32, 32)).save(tmp_path / "data" / "train" / "b" / "more.gif")
    images = find_images(tmp_path / "data", "train", "val")
    assert images.classes == ["a", "b", "c"]
    assert (len(images.train), len(images.val)) == (48, 24)
    train, val = caplog.messages
    assert "2 of 50 files are left out" in train and "1 .gif" in train and "1 hidden" in train
    assert "1 of 25 files are left out" in val


def test_deep_images_are_refused(data, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    for path in (tmp_path / "data").glob("*/*/*.png"):
        Image.fromarray(np.full((32, 32), 30_000, np.uint16)).save(path)
    with pytest.raises(UserError, match=r"00\.png has .* pixels: .* 8 bits"):
        find_images(tmp_path / "data", "train", "val")
