"""Batches of anchors and their neighbours, without a host."""

import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from solo_rekd.hosts.shared.neighbour_batches import group_sizes, put_neighbours, with_neighbours
from solo_rekd.objectives.distillation import Neighbours
from solo_rekd.utils.errors import UserError

NUMBER, POOL = 40, 7


def make(number: int = 3) -> Neighbours:
    """Pools of the next images, in a circle."""
    places = torch.arange(NUMBER)[:, None] + torch.arange(1, POOL + 1)
    return Neighbours(places % NUMBER, number)


@pytest.mark.parametrize(
    ("batch_size", "number", "sizes"),
    [
        (256, 15, [16] * 16),
        (40, 15, [14, 13, 13]),
        (8, 15, [8]),
        (16, 15, [16]),
        (17, 15, [9, 8]),
        (1, 15, [1]),
        (3, 1, [2, 1]),
    ],
)
def test_a_batch_is_shared_out_evenly(batch_size: int, number: int, sizes: list[int]) -> None:
    assert group_sizes(batch_size, number) == sizes


@pytest.mark.parametrize("batch_size", [1, 2, 5, 8, 9, NUMBER])
@pytest.mark.parametrize("number", [1, 3, POOL])
def test_anchors_are_the_orders_first_and_the_others_are_theirs(
    batch_size: int, number: int
) -> None:
    neighbours = make(number)
    order = torch.randperm(NUMBER, generator=torch.Generator().manual_seed(2))
    places = with_neighbours(order, batch_size, neighbours).tolist()
    assert len(places) == NUMBER
    sizes, anchors = group_sizes(batch_size, number), iter(order.tolist())
    for start in range(0, NUMBER - batch_size + 1, batch_size):
        batch = places[start : start + batch_size]
        for size in sizes:
            anchor, *others = batch[:size]
            del batch[:size]
            assert anchor == next(anchors)
            assert len({*others, anchor}) == size  # no image twice
            assert {*others} <= {*neighbours.members[anchor].tolist()}
        assert not batch


def test_the_order_decides_and_epochs_draw_anew() -> None:
    order = torch.arange(NUMBER)
    assert torch.equal(with_neighbours(order, 8, make()), with_neighbours(order, 8, make()))
    drawn = set()
    for seed in range(20):
        tail = torch.randperm(NUMBER - 1, generator=torch.Generator().manual_seed(seed)) + 1
        places = with_neighbours(torch.cat([torch.zeros(1).long(), tail]), 8, make()).tolist()
        assert places[0] == 0
        drawn |= {*places[1:4]}
    assert drawn == {*range(1, POOL + 1)}  # the whole pool, in time


def loader(sampler: object = None, workers: int = 0) -> DataLoader:
    images = TensorDataset(torch.arange(NUMBER))
    return DataLoader(images, 8, sampler=sampler, num_workers=workers, drop_last=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_gives_them_from_its_next_epoch_on(workers: int) -> None:
    images = TensorDataset(torch.arange(NUMBER))
    generator = torch.Generator()
    of_host = loader(RandomSampler(images, generator=generator), workers)
    for number in (1, 3):  # as where a loader trains twice
        put_neighbours(of_host, make(number))
    assert len(of_host) == 5
    epochs = []
    for seed in (1, 1, 2):
        generator.manual_seed(seed)
        epochs.append([batch.tolist() for (batch,) in of_host])
    assert epochs[0] == epochs[1] != epochs[2]
    generator.manual_seed(1)
    order = list(RandomSampler(images, generator=generator))
    assert [place for batch in epochs[0] for place in batch[::4]] == order[:10]


def test_every_process_has_anchors_of_its_own_and_neighbours_of_all() -> None:
    images = TensorDataset(torch.arange(NUMBER))
    anchors, seen = [], set()
    for rank in range(2):
        sampler = DistributedSampler(images, num_replicas=2, rank=rank, seed=5)
        of_host = loader(sampler)
        put_neighbours(of_host, make())
        epochs = []
        for epoch in range(2):
            sampler.set_epoch(epoch)
            batches = [batch.tolist() for (batch,) in of_host]
            assert len(batches) == 2
            epochs.append(batches)
        assert epochs[0] != epochs[1]
        anchors += [place for batch in epochs[0] for place in batch[::4]]
        seen |= {place for batch in epochs[0] for place in batch}
    assert len({*anchors}) == len(anchors) == 8
    assert len(seen) > 8


def test_a_loader_of_another_kind_is_refused() -> None:
    with pytest.raises(UserError, match=r"^neighbours=3 .* expected 0 with DALI"):
        put_neighbours(object(), make())
