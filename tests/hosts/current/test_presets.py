"""Presets in the current host: a group of settings that its recipes take by name."""

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

import torch

from solo_rekd.config import PRESETS


def test_a_preset_takes_the_place_of_the_defaults(compose: Callable[..., Any]) -> None:
    changes = {"method_kwargs": "seed:lightly", "method_kwargs.temperature": 0.1}
    settings = compose("seed", **changes).method_kwargs
    assert {name: settings[name] for name in PRESETS["seed"]["lightly"]} == (
        PRESETS["seed"]["lightly"] | {"temperature": 0.1}
    )
    assert settings.queue_size == 24


def test_a_linear_head_embeds_in_evaluation(pretraining: Callable[..., Any]) -> None:
    settings = {"method_kwargs.projector": "linear", "knn_eval.enabled": False}
    method = pretraining("seed", **settings).eval()
    assert len(method.objective.projector) == 1
    with torch.no_grad():
        out = method(torch.randn(4, 3, 32, 32))
    assert out["z"].shape == (4, 8)
    torch.testing.assert_close(out["z"].norm(dim=1), torch.ones(4))
