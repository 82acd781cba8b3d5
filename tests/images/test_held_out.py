"""Held-out photos: which they are, what a network sees of them, and what they leave alone."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from solo_rekd.images.held_out import normalised, random_view, read_held_out, spread
from solo_rekd.images.read import load_rgb
from solo_rekd.images.transforms import evaluation_pipeline
from solo_rekd.utils.errors import UserError


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    rng = np.random.default_rng(0)
    paths = []
    for place, (width, height) in enumerate(((40, 30), (20, 50), (64, 64), (9, 33))):
        path = tmp_path / "a" / f"{place % 2}" / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(path)
        paths.append(str(path))
    return paths


def test_those_chosen_are_spread_over_the_list() -> None:
    assert spread(list("abcdefghij"), 4) == ["a", "c", "f", "h"]
    assert spread(list("abc"), 9) == ["a", "b", "c"]


def test_a_network_sees_what_an_evaluation_shows(photos: list[str]) -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
    pixels = read_held_out(photos, 32).pixels
    batches = list(normalised(pixels, mean, std, 3, torch.zeros((), dtype=torch.float64)))
    assert [len(batch) for batch in batches] == [3, 1]
    pipeline = evaluation_pipeline(32, mean, std)["T_val"]
    expected = torch.stack([pipeline(load_rgb(path)) for path in photos])
    torch.testing.assert_close(torch.cat(batches), expected.double(), rtol=0, atol=1e-5)


def test_second_views_are_parts_of_the_photo_and_always_the_same(photos: list[str]) -> None:
    first, again = (read_held_out(photos, 24).views for _ in range(2))
    assert torch.equal(first, again)
    # a photo whose colour tells the place
    width, height = 120, 80
    across = np.broadcast_to(np.linspace(0, 255, width), (height, width))
    photo = Image.fromarray(np.stack([across] * 3, 2).astype("uint8"))
    shares = []
    for seed in range(40):
        view = np.asarray(random_view(photo, 60, np.random.default_rng(seed)))[..., 0]
        assert view.shape == (60, 60)
        shares.append(float(np.ptp(view)) / 255)
    assert 0.5 < min(shares) < max(shares) <= 1  # of the width, for half of the area or more


def test_a_broken_photo_is_left_out_and_named(
    photos: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(Path(photos[0]).read_bytes()[:60])
    whole = read_held_out(photos, 16)
    with caplog.at_level("WARNING"):
        found = read_held_out([*photos, str(broken)], 16)
    assert torch.equal(found.pixels, whole.pixels)
    assert "1 of 5" in caplog.text
    assert "broken.png" in caplog.text
    with pytest.raises(UserError, match=r"broken\.png"):
        read_held_out([str(broken)], 16)


def test_no_random_number_of_the_training_is_drawn(photos: list[str]) -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    read_held_out(photos, 16)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]
