"""Every change to the classic host, solo-learn 1.0.2, that today's libraries ask for.

The host was written for pytorch-lightning 1.4, an older torchmetrics and a GPU, and trains nothing
without these patches. So they hold for every run, ours or not: each turns a call that fails into
what the host meant, and says what breaks without it; none touches a loss.
"""

import functools
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.overrides.base import _LightningModuleWrapperBase
from solo.methods import base, dino

from solo_rekd.hosts.shared import patches as shared_patches
from solo_rekd.hosts.shared.changes import ENTRIES
from solo_rekd.hosts.shared.method import refuse_divergence


class TerminateOnNan(pl.Callback):
    """Ends a training that diverged with its epoch."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, module: pl.LightningModule, *args: Any
    ) -> None:
        """Looks at the weights after the epoch's last batch."""
        if trainer.is_last_batch:
            refuse_divergence(module)


def default_trainer_flags(add_argparse_args: Callable[..., ArgumentParser]) -> Callable[..., Any]:
    """Lightning 1.9 leaves both flags None, and the host computes with them."""

    def add(parser: ArgumentParser, **kwargs: Any) -> ArgumentParser:
        parser = add_argparse_args(parser, **kwargs)
        parser.set_defaults(gpus="0", accumulate_grad_batches=1)
        return parser

    return add


def rename_trainer_arguments(from_argparse_args: Callable[..., pl.Trainer]) -> Callable[..., Any]:
    """Lightning 1.9 renamed an argument, dropped terminate_on_nan, and refuses `gpus` on a CPU."""

    def build(args: Namespace, **kwargs: Any) -> pl.Trainer:
        if "checkpoint_callback" in kwargs:
            kwargs["enable_checkpointing"] = kwargs.pop("checkpoint_callback")
        if kwargs.pop("terminate_on_nan", False):
            kwargs["callbacks"] = [TerminateOnNan(), *(kwargs.get("callbacks") or ())]
        if not torch.cuda.is_available() or args.accelerator == "cpu" or args.devices:
            kwargs["gpus"] = None
        return from_argparse_args(args, **kwargs)

    return build


def optional_dataloader_idx(on_train_batch_end: Callable[..., None]) -> Callable[..., None]:
    """Lightning 1.9 no longer passes dataloader_idx."""

    @functools.wraps(on_train_batch_end)
    def end(self: Any, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        on_train_batch_end(self, outputs, batch, batch_idx, dataloader_idx)

    return end


def name_unsent_buffers(init: Callable[..., None]) -> Callable[..., None]:
    """Lightning 1.9 puts the prefix of an older version before what DDP is to leave alone."""

    @functools.wraps(init)
    def initialise(self: Any, forward_module: Any) -> None:
        init(self, forward_module)
        names = getattr(forward_module, "_ddp_params_and_buffers_to_ignore", [])
        self._ddp_params_and_buffers_to_ignore = [f"_forward_module.{name}" for name in names]

    return initialise


def clip_as_lightning_asks(clip_gradients: Callable[..., Any]) -> Callable[..., Any]:
    """Lightning 1.9 calls its own method of this name, which the host's DINO has for another."""

    @functools.wraps(clip_gradients)
    def clip(self: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs:  # of Lightning; the host gives its threshold alone
            return pl.LightningModule.clip_gradients(self, *args, **kwargs)
        return clip_gradients(self, *args)

    return clip


def apply() -> None:
    """Applies every patch; the caller sees to it that this happens once."""
    shared_patches.apply(ENTRIES)
    # typed as Any, for mypy rejects every assignment to a method
    trainer: Any = pl.Trainer
    trainer.add_argparse_args = staticmethod(default_trainer_flags(trainer.add_argparse_args))
    trainer.from_argparse_args = staticmethod(rename_trainer_arguments(trainer.from_argparse_args))
    wrapper: Any = _LightningModuleWrapperBase
    wrapper.__init__ = name_unsent_buffers(wrapper.__init__)
    dino.DINO.clip_gradients = clip_as_lightning_asks(dino.DINO.clip_gradients)
    base.BaseMomentumMethod.on_train_batch_end = optional_dataloader_idx(
        base.BaseMomentumMethod.on_train_batch_end
    )
