"""Drawn views in a host's loader, without a host."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from solo_rekd.hosts.shared.drawn_images import host_dataset, put_drawn_images
from solo_rekd.objectives.drawn_views import DrawnImages, normalise
from solo_rekd.utils.errors import UserError

NUMBER, VIEWS = 6, 4
COLOURS = ((0.5,) * 3, (0.25,) * 3)


def make() -> DrawnImages:
    """Views whose bytes say which image and which view they are."""
    numbers = 10 * torch.arange(NUMBER)[:, None] + torch.arange(VIEWS)
    pixels = numbers[..., None, None, None].expand(-1, -1, 3, 2, 2).to(torch.uint8)
    return DrawnImages(pixels, torch.arange(NUMBER, dtype=torch.int32) - 1, COLOURS)


@pytest.mark.parametrize(("workers", "persist"), [(0, False), (2, False), (2, True)])
def test_each_epoch_has_the_next_two_and_begins_again(workers: int, persist: bool) -> None:
    of_host = TensorDataset(torch.zeros(NUMBER))
    loader = DataLoader(of_host, 4, shuffle=True, num_workers=workers, persistent_workers=persist)
    list(loader)  # of before, whose workers persist
    for _ in range(2):  # as where a loader trains twice
        images = make()
        put_drawn_images(loader, images)
    assert host_dataset(loader) is of_host
    for epoch in (0, 1, 2, 5, 2):  # a resumed run begins anywhere
        images.begin(epoch)
        seen = []
        for places, views, labels in loader:
            assert labels.dtype == torch.int64 and torch.equal(labels, places - 1)
            for which, view in enumerate(views):
                expected = images.pixels[places, 2 * (epoch % 2) + which]
                assert torch.equal(view, normalise(expected, COLOURS))
            seen += places.tolist()
        assert sorted(seen) == list(range(NUMBER))


def test_a_loader_of_another_kind_is_refused() -> None:
    with pytest.raises(UserError, match=r"^drawn_views=4 .* expected 0 with DALI"):
        put_drawn_images(object(), make())
