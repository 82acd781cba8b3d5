"""The momentum twins of a real run draw nothing at random, before and after a validation."""

from collections.abc import Callable
from typing import Any

import pytest
from torch.nn.modules.batchnorm import _BatchNorm

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")


def test_twins_of_our_methods_have_no_noise(pretraining: Callable[..., Any]) -> None:
    import lightning.pytorch as pl
    import torch
    from torch.utils.data import DataLoader

    method = pretraining("rekd", **{"knn_eval.enabled": False})
    seen = []

    class Look(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, *args: Any) -> None:
            for network, twin in module.momentum_pairs:
                assert network.training
                seen.extend((isinstance(m, _BatchNorm), m.training) for m in twin.modules())

    views = [torch.randn(8, 3, 32, 32) for _ in range(2)]
    batch = [torch.arange(8), views, torch.arange(8) % 3]
    train = DataLoader([batch], batch_size=None)  # type: ignore[arg-type]
    val = DataLoader([(views[0], batch[2])], batch_size=None)  # type: ignore[arg-type]
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        callbacks=[Look()],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(method, train, val)
    assert seen and all(batchnorm == training for batchnorm, training in seen)
