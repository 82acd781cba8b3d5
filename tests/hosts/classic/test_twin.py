"""The momentum twins of a real run draw nothing at random, before and after a validation."""

from collections.abc import Callable
from typing import Any

import pytest
from torch.nn.modules.batchnorm import _BatchNorm


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
