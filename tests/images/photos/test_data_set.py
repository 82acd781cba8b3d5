import logging
import os
import pickle
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms.functional import pil_to_tensor

from solo_rekd.images import files
from solo_rekd.images.decoded.chosen import prepare_folders
from solo_rekd.images.fingerprint import fingerprint
from solo_rekd.images.photos import build_index, data_set
from solo_rekd.images.photos.data_set import UnlabelledPhotos
from solo_rekd.images.sets import with_index
from solo_rekd.utils.errors import UserError


@pytest.fixture(autouse=True)
def log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(files, "_reported", set())
    monkeypatch.setattr(data_set, "_named", set())
    caplog.set_level(logging.WARNING, "solo_rekd")
    return caplog


@pytest.fixture
def given(good: Path, tmp_path: Path) -> dict[str, Path]:
    """The same photos in every form."""
    (tmp_path / "list.txt").write_text("good/gone.jpg\n# all\ngood\n")
    return {
        "folder": good,
        "index": build_index([good], tmp_path / "index").folder,
        "list": tmp_path / "list.txt",
    }


def size(image: Image.Image) -> torch.Tensor:
    return torch.tensor(image.size)


@pytest.mark.parametrize("form", ["folder", "index", "list"])
def test_every_form_gives_the_same_photos(form: str, given: dict[str, Path], good: Path) -> None:
    photos = UnlabelledPhotos(given[form], pil_to_tensor)
    plain = UnlabelledPhotos(good, pil_to_tensor)
    assert photos.paths() == plain.paths()
    for (image, label), (expected, _) in zip(photos, plain, strict=True):
        assert torch.equal(image, expected) and label == -1
    assert fingerprint(photos) == fingerprint(plain)


def test_a_part_has_other_images_than_its_index(given: dict[str, Path]) -> None:
    parts = build_index([given["folder"]], given["index"]).split(2, 0)
    found = [fingerprint(UnlabelledPhotos(part.folder)) for part in parts]
    assert len({*found, fingerprint(UnlabelledPhotos(given["index"]))}) == 3


def test_what_a_list_lacks_is_named_once(
    given: dict[str, Path], log: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        assert len(UnlabelledPhotos(given["list"])) == 6
    lines = [line for line in log.messages if "gone.jpg" in line]
    assert len(lines) == 1 and "1 of 7" in lines[0] and "1 missing" in lines[0]


@pytest.mark.parametrize("workers", [0, 1])
def test_another_photo_takes_the_place_of_a_broken_one(
    workers: int, messy: Path, tmp_path: Path, log: pytest.LogCaptureFixture
) -> None:
    index = build_index([messy], tmp_path / "index")
    photos = with_index(UnlabelledPhotos)(index.folder, pil_to_tensor)
    log.clear()
    (broken,) = (place for place, path in enumerate(index) if path.endswith("cut.png"))
    seen = []
    for _ in range(2):
        seen.append(
            {int(place): image[0] for place, image, _ in DataLoader(photos, num_workers=workers)}
        )
        assert photos.end_epoch().tolist() == [broken]
        assert photos.end_epoch().tolist() == []
    assert seen[0].keys() == set(range(7))
    assert torch.equal(seen[0][broken], seen[1][broken])
    others = [image for place, image in seen[0].items() if place != broken]
    assert any(torch.equal(image, seen[0][broken]) for image in others)
    if workers == 0:  # a worker says it in its own process
        (line,) = log.messages
        assert index[broken] in line and "truncated" in line


def test_a_photo_that_vanishes_costs_itself_alone(good: Path) -> None:
    photos = UnlabelledPhotos(good)
    os.remove(photos.path(3))
    assert len([*photos]) == 6
    assert photos.end_epoch().tolist() == [3]


def test_the_training_draws_the_same_numbers(messy: Path) -> None:
    photos = UnlabelledPhotos(messy)
    torch.manual_seed(0)
    states = [torch.get_rng_state()]
    assert len([*photos]) == len(photos)
    states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_where_no_photo_can_be_read_the_run_ends(good: Path) -> None:
    photos = UnlabelledPhotos(good)
    for path in photos.paths():
        os.remove(path)
    with pytest.raises(
        UserError, match=r"5\.TIFF cannot be read: No such file.* none of .* can be read"
    ):
        photos[5]
    with pytest.raises(UserError, match="has no image"):
        UnlabelledPhotos(good)


def test_many_broken_photos_are_not_all_named(good: Path, log: pytest.LogCaptureFixture) -> None:
    for name in range(30):
        (good / "2020" / f"b{name}.jpg").write_text("none")
    photos = UnlabelledPhotos(good)
    log.clear()
    assert len([*photos]) == 36
    assert len(log.messages) == data_set.NAMED
    assert len(photos.end_epoch()) == 30


def test_a_copy_counts_too(messy: Path) -> None:
    photos = UnlabelledPhotos(messy)
    copied = pickle.loads(pickle.dumps(photos))
    assert copied.paths() == photos.paths()


@pytest.mark.parametrize("form", ["folder", "index", "list"])
def test_decoded_photos(form: str, given: dict[str, Path], good: Path, tmp_path: Path) -> None:
    (good / "2019" / "cut.png").write_bytes((good / "2019/may/2.png").read_bytes()[:-200])
    build_index([good], given["index"])
    given["list"].write_text("good\n")
    expected = [image for image, _ in UnlabelledPhotos(good, pil_to_tensor)]
    prepare_folders([str(given[form])], False, str(tmp_path / "kept"), "auto")
    photos = UnlabelledPhotos(given[form], pil_to_tensor)
    for path in good.rglob("*.*"):
        if path.is_file():
            path.write_bytes(b"none")
    assert len(photos) == 7
    assert all(torch.equal(image, own) for (image, _), own in zip(photos, expected, strict=True))
