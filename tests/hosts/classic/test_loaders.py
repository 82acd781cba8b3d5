"""The order of the images, by the seed alone."""

import itertools
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler

Flags = Callable[..., list[str]]
SHORT = {"num_workers": 1, "limit_train_batches": 2, "limit_val_batches": 0}


class Seen(NamedTuple):
    """What a training saw: its batches, and the encoder's weights before the first."""

    indexes: list[list[int]]
    pixels: list[Tensor]
    weights: dict[str, Tensor]


@pytest.fixture
def watch(host: ModuleType, flags: Flags, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Seen]:
    """Trains a method, and returns what it saw."""
    from solo.methods import METHODS

    def run(method: str, **changes: Any) -> Seen:
        seen = Seen([], [], {})
        step = METHODS[method].training_step

        def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
            if not seen.indexes:
                seen.weights.update({k: v.clone() for k, v in self.encoder.state_dict().items()})
            seen.indexes.append(batch[0].tolist())
            seen.pixels.append(torch.cat(batch[1]))
            return step(self, batch, batch_idx)

        monkeypatch.setattr(METHODS[method], "training_step", training_step)
        host.pretrain(flags("pretrain", method=method, **(SHORT | changes)))
        monkeypatch.undo()
        return seen

    return run


@pytest.mark.parametrize("encoder", ["alexnet", pytest.param("resnet18", marks=pytest.mark.slow)])
def test_every_method_starts_from_the_same_and_sees_the_same(
    encoder: str, watch: Callable[..., Seen]
) -> None:
    first = watch("mocov2plus", encoder=encoder, seed=7)
    for method in ("simclr", "rekd"):
        other = watch(method, encoder=encoder, seed=7)
        assert other.indexes == first.indexes
        assert torch.equal(torch.stack(other.pixels), torch.stack(first.pixels))
        assert other.weights.keys() == first.weights.keys()
        assert all(torch.equal(other.weights[name], value) for name, value in first.weights.items())


def test_another_seed_is_another_start_and_another_order(watch: Callable[..., Seen]) -> None:
    first, other = watch("simclr", seed=7), watch("simclr", seed=8)
    assert other.indexes != first.indexes
    assert not torch.equal(other.pixels[0], first.pixels[0])
    name = "features.0.weight"
    assert not torch.equal(other.weights[name], first.weights[name])


def test_epochs_differ_and_a_resumed_run_sees_what_it_would_have_seen(
    watch: Callable[..., Seen], tmp_path: Path
) -> None:
    kept = {"save_checkpoint": True, "checkpoint_dir": tmp_path}
    whole = watch("simclr", max_epochs=2)
    watch("simclr", max_epochs=1, **kept)
    (checkpoint,) = tmp_path.glob("*/*/*.ckpt")
    rest = watch("simclr", max_epochs=2, resume_from_checkpoint=checkpoint)
    assert whole.indexes[:2] != whole.indexes[2:]
    assert rest.indexes == whole.indexes[2:]
    assert torch.equal(torch.stack(rest.pixels), torch.stack(whole.pixels[2:]))


def test_next_seed_does_not_begin_with_this_ones_second_epoch(watch: Callable[..., Seen]) -> None:
    epochs = {"num_workers": 0, "max_epochs": 2, "limit_train_batches": 1}
    first, second = watch("simclr", seed=0, **epochs), watch("simclr", seed=1, **epochs)
    assert first.indexes[1] != second.indexes[0]


def test_whole_epochs_hold_every_image_once(watch: Callable[..., Seen]) -> None:
    seen = watch("simclr", limit_train_batches=6)
    assert sorted(itertools.chain(*seen.indexes)) == list(range(48))


def test_one_process_has_the_order_of_main(host: ModuleType) -> None:
    from solo_rekd.hosts.classic.loaders import DataOrder
    from solo_rekd.hosts.shared.order import seed_of_epoch

    images = range(7)
    order = DataOrder(5)
    ours = order.rule(DataLoader(images, shuffle=True))
    for epoch in range(2):
        # main's loader has one generator, from which its workers get their seed first
        generator = torch.Generator().manual_seed(seed_of_epoch(5, epoch, 0))
        of_main = DataLoader(images, sampler=RandomSampler(images, generator=generator))
        of_main.generator = generator
        order.on_train_epoch_start(SimpleNamespace(current_epoch=epoch, global_rank=0), None)
        assert [int(each) for each in ours] == [int(each) for each in of_main]


def test_processes_share_out_one_order_and_draw_their_own_crops(host: ModuleType) -> None:
    from solo_rekd.hosts.classic.loaders import DataOrder

    found = []
    for rank in range(3):
        order = DataOrder(5)
        loader = order.rule(DataLoader(range(7), shuffle=True))
        order.on_train_epoch_start(SimpleNamespace(current_epoch=1, global_rank=rank), None)
        found.append(([*loader.sampler], loader.generator.initial_seed()))
    orders, seeds = zip(*found, strict=True)
    assert orders[0] == orders[1] == orders[2]
    assert len(set(seeds)) == 3
