"""The momentum twins of a real run: they draw nothing at random, and run where they are read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.modules.batchnorm import _BatchNorm
from waits import NoWaits

PROJECTOR = "objective.projector."
OF_A_TWIN = ("momentum_encoder.", "objective.momentum_projector.")


def test_twins_of_our_methods_have_no_noise(
    train: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from solo.methods import METHODS

    seen = []

    def look(self: Any, *args: Any) -> None:
        step(self, *args)
        for network, twin in self.momentum_pairs:
            assert network.training
            seen.extend((isinstance(m, _BatchNorm), m.training) for m in twin.modules())

    step = METHODS["rekd"].on_train_batch_end
    monkeypatch.setattr(METHODS["rekd"], "on_train_batch_end", look)
    train("rekd", max_epochs=2, limit_train_batches=1, limit_val_batches=1)
    assert seen and all(batchnorm == training for batchnorm, training in seen)


def states(run: dict[str, Any]) -> dict[str, torch.Tensor]:
    return torch.load(run["checkpoint"], weights_only=True)["state_dict"]


@pytest.mark.slow
def test_a_method_that_reads_no_momentum_features_has_no_twin(
    train: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    run = train("seed", limit_val_batches=1)
    assert not [name for name in states(run) if name.startswith(OF_A_TWIN)]
    assert "val_acc1" in run["metrics"]

    # an earlier version kept one, which nobody read
    checkpoint = torch.load(run["checkpoint"], weights_only=True)
    state = checkpoint["state_dict"]
    state |= {
        name.replace(part, twin, 1): value + 1
        for part, twin in (("encoder.", "momentum_encoder."), (PROJECTOR, OF_A_TWIN[1]))
        for name, value in state.items()
        if name.startswith(part)
    }
    torch.save(checkpoint, tmp_path / "earlier.ckpt")
    resumed = [
        states(train("seed", max_epochs=2, limit_val_batches=0, resume_from_checkpoint=path))
        for path in (run["checkpoint"], tmp_path / "earlier.ckpt")
    ]
    torch.testing.assert_close(*resumed, rtol=0, atol=0)


def test_a_momentum_classifier_keeps_the_twin(train: Callable[..., dict[str, Any]]) -> None:
    run = train("seed", momentum_classifier=True, limit_train_batches=2, limit_val_batches=1)
    assert {"train_momentum_acc1", "val_acc1", "momentum_val_acc1"} <= run["metrics"].keys()
    names = [name for name in states(run) if name.startswith(OF_A_TWIN)]
    assert names and all(name.startswith("momentum_encoder.") for name in names)


def test_the_twin_does_not_run_in_validation(
    train: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from solo.methods.base import BaseMomentumMethod

    seen = []
    forward = BaseMomentumMethod.base_momentum_forward

    def look(self: Any, images: Any) -> Any:
        seen.append(self.training)
        return forward(self, images)

    monkeypatch.setattr(BaseMomentumMethod, "base_momentum_forward", look)
    train("rekd", limit_train_batches=2, limit_val_batches=1)
    assert seen == [True] * 4  # two views in each of two steps


@pytest.mark.parametrize("method", ["rekd", "compress"])
def test_no_step_waits_for_the_device(
    method: str, train: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from solo.methods import METHODS

    step, done = METHODS[method].training_step, []

    def watch(self: Any, batch: Any, batch_idx: int) -> Any:
        looks = batch_idx == 5  # the last step of an epoch is checked for what goes wrong
        if batch_idx < 4 or looks:  # the bank starts, once
            return step(self, batch, batch_idx)
        done.append(batch_idx)
        with NoWaits():
            return step(self, batch, batch_idx)

    monkeypatch.setattr(METHODS[method], "training_step", watch)
    train(method, limit_val_batches=0)
    assert done == [4]
