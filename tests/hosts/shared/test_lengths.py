"""How long a training will be, and what `auto` comes to in it."""

from pathlib import Path
from typing import Any

import pytest

from solo_rekd.config import CompressConfig, RekdConfig
from solo_rekd.hosts.shared.lengths import count_images, make_training, settle
from solo_rekd.lengths import Training


def test_images_are_counted_with_and_without_classes(data: Path) -> None:
    assert count_images(data / "train", no_labels=False) == 48
    assert count_images(data / "flat", no_labels=True) == 48
    assert count_images(data / "train", no_labels=False, fraction=0.4) == 19
    assert count_images(data / "train", no_labels=False, fraction=-1) == 48


@pytest.mark.parametrize(
    ("settings", "steps", "epochs"),
    [
        ({}, 12, 3),  # the last batch, of 4, is dropped
        ({"limit": 5}, 5, 3),
        ({"limit": 50}, 12, 3),
        ({"limit": 1}, 1, 3),
        ({"limit": 1.0}, 12, 3),
        ({"limit": 0.5}, 6, 3),
        ({"max_steps": -1}, 12, 3),
        ({"max_steps": 12}, 12, 1),
        ({"max_steps": 30}, 12, 2),
        ({"max_steps": 5}, 5, 1),
        ({"max_steps": 5, "accumulated": 3}, 12, 1),
        ({"max_steps": 1_000}, 12, 3),
    ],
)
def test_a_training_has_the_batches_that_lightning_counts(
    settings: dict[str, Any], steps: int, epochs: int
) -> None:
    found = make_training(100, batch_size=4, processes=2, epochs=3, **settings)
    assert found == Training(images=100, batch=8, steps=steps, epochs=epochs)


def never() -> Any:
    raise AssertionError("the images were counted, or a checkpoint read")


LONG = Training(images=300, batch=4, steps=75, epochs=40)


def test_nothing_is_looked_at_where_every_number_is_given() -> None:
    given = {"queue_size": 7, "num_prototypes": 2, "teacher_warmup_epochs": 0}
    assert settle(RekdConfig, given, 40, never, never) == {}


def test_what_is_not_given_follows_from_the_training() -> None:
    found = settle(RekdConfig, {"num_prototypes": 5, "method": "rekd"}, 40, lambda: LONG, dict)
    assert found == {"queue_size": 128, "teacher_warmup_epochs": 4}
    assert settle(CompressConfig, {"queue_size": "auto"}, 40, lambda: LONG, dict) == {
        "queue_size": 256
    }


def test_images_are_counted_for_the_queue_alone() -> None:
    found = settle(RekdConfig, {"queue_size": 24}, 40, never, dict)
    assert found == {"num_prototypes": 6, "teacher_warmup_epochs": 4}


def test_a_resumed_run_keeps_its_numbers() -> None:
    earlier = {"queue_size": 24, "num_prototypes": 3, "teacher_warmup_epochs": 1}
    assert settle(RekdConfig, {}, 40, never, lambda: earlier) == earlier
    del earlier["teacher_warmup_epochs"]
    found = settle(RekdConfig, {}, 40, never, lambda: earlier)
    assert found == earlier | {"teacher_warmup_epochs": 4}
