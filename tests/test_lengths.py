"""Lengths by the data: monotone, powers of two, and filled in the first tenth of any training."""

import itertools
import random
import re
from pathlib import Path

import pytest

from solo_rekd.lengths import (
    QUEUES,
    Training,
    num_prototypes,
    power_of_two,
    queue_size,
    warmup_epochs,
    whole_batches,
)

DOCS = Path(__file__).parent.parent / "docs" / "queue.md"


def training(images: int, batch: int = 1, epochs: int = 1000) -> Training:
    return Training(images, batch, images // batch, epochs)


@pytest.mark.parametrize(
    ("images", "keys"),
    [
        (1, 16),
        (50, 16),
        (51, 32),
        (5_000, 2_048),
        (19_999, 4_096),
        (20_000, 8_192),
        (50_000, 8_192),
        (999_999, 32_768),
        (1_000_000, 65_536),
        (1_281_167, 65_536),
        (10**9, 65_536),
    ],
)
def test_a_long_training_has_the_queue_of_the_table(images: int, keys: int) -> None:
    assert queue_size(training(images)) == keys
    assert queue_size(training(images), keys_per_image=2) == 2 * keys


def test_the_published_table_is_the_one_in_use() -> None:
    rows = re.findall(r"^\| ([\d,]+) \| ([\d,]+) \|$", DOCS.read_text(), re.MULTILINE)
    found = [tuple(int(cell.replace(",", "")) for cell in row) for row in rows]
    assert found == [(max(images, 1), keys) for images, keys in QUEUES]


def test_any_training_fills_its_queue_in_a_tenth() -> None:
    draw = random.Random(0)
    for _ in range(5_000):
        batch = draw.choice([1, 3, 8, 100, 256, 4_096])
        each = Training(draw.randint(1, 2_000_000), batch, draw.randint(1, 9_000), 1)
        each = each._replace(epochs=draw.choice([1, 2, 7, 100, 800]))
        keys = queue_size(each)
        assert keys == power_of_two(keys)
        # the first step fills a queue of a batch, which is as soon as can be
        assert keys <= max(each.seen / 10, each.batch), each


def test_more_of_anything_makes_no_queue_shorter() -> None:
    images = sorted({*range(1, 400), *(n + d for n, _ in QUEUES for d in (-1, 0, 1)), 3_000_000})
    for epochs, batch in itertools.product((1, 3, 100), (1, 7, 256)):
        sizes = [queue_size(training(n, batch, epochs)) for n in images if n >= 1]
        assert sizes == sorted(sizes)
    lengths = [queue_size(training(5_000, 32, epochs)) for epochs in range(1, 60)]
    assert lengths == sorted(lengths)
    assert (lengths[0], lengths[-1]) == (256, 2_048)


def test_a_queue_of_whole_batches() -> None:
    assert whole_batches(8_192, 256) == 8_192
    assert whole_batches(8_192, 100) == 8_100
    assert whole_batches(16, 32) == 32


def test_a_bank_and_a_warm_up_follow() -> None:
    assert [num_prototypes(keys) for keys in (1, 16, 256, 400, 65_536)] == [1, 4, 64, 100, 100]
    assert [warmup_epochs(epochs) for epochs in (1, 9, 10, 55, 100, 800)] == [0, 0, 1, 5, 10, 10]
