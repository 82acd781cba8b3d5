"""The accuracy of `solo-rekd linear`, and what it says of it."""

import re
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from solo_rekd.utils.errors import UserError

Flags = Callable[..., list[str]]


@pytest.fixture
def weights(moco: dict[str, Any]) -> dict[str, Any]:
    return {"encoder": "resnet18", "pretrained_feature_extractor": moco["checkpoint"]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"max_epochs": 2}, "features, 2 epochs, sgd .*, last epoch$"),
        ({"max_epochs": 3, "check_val_every_n_epoch": 2}, "3 epochs, .* epoch 2, step 12 of 18$"),
        ({"val_check_interval": 0.5}, "1 epochs, .* last epoch$"),
        ({"limit_val_batches": 2}, "last epoch, on 16 of 24 validation images$"),
        ({"fast_dev_run": True, "max_epochs": 3}, "1 of 3 .* on 8 of 24 .* limit_train_batches 1$"),
        ({"max_epochs": 3, "max_steps": 8}, "2 of 3 epochs, .* epoch 1, step 6 of 8$"),
    ],
)
def test_the_protocol_says_what_was_judged(
    changes: dict[str, Any], said: str, host: ModuleType, flags: Flags, weights: dict[str, Any]
) -> None:
    result = host.linear(flags("linear", **weights, **changes))
    assert re.search(said, result["protocol"]), result["protocol"]
    assert 0 <= result["top1"] <= 100


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"limit_val_batches": 0}, "limit_val_batches=0.* is not allowed: .* above 0"),
        ({"check_val_every_n_epoch": 2}, "no epoch was evaluated: .* check_val_every_n_epoch"),
    ],
)
def test_nothing_judged_is_refused(
    changes: dict[str, Any], message: str, host: ModuleType, flags: Flags, weights: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=message):
        host.linear(flags("linear", **weights, **changes))
