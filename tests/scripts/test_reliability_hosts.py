"""Whole runs of a host in one process and in several."""

from pathlib import Path

import pytest
import torch
from reliability.commands import Given
from reliability.hosts import compare, differences
from reliability.rank_order import in_rank_order


def test_a_batch_is_put_in_the_order_in_which_processes_gather_it() -> None:
    order = [*range(10, 22)]
    assert in_rank_order(order, 1, 4) == order
    assert in_rank_order(order, 2, 4) == [10, 12, 11, 13, 14, 16, 15, 17, 18, 20, 19, 21]
    assert in_rank_order(order[:6], 3, 6) == [10, 13, 11, 14, 12, 15]


def test_the_largest_difference_is_found_in_each_part() -> None:
    one = {"encoder.a": torch.tensor([1.0, 2.0]), "classifier.b": torch.ones(1)}
    one |= {"objective.c": torch.tensor(3), "objective.d": torch.empty(0)}
    other = {name: value + (5 if name == "objective.c" else 0.5) for name, value in one.items()}
    assert differences(one, other) == {"student": 0.5, "objective": 5.0}
    with pytest.raises(ValueError, match=r"objective\.d"):
        differences(one, {name: one[name] for name in one if name != "objective.d"})


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    pytest.importorskip("solo.args.setup", reason="solo-learn 1.0.2 is not installed")
    found = compare(Given("classic", tmp_path), "rekd online", processes=2, epochs=2)
    assert all(0 < value < 1e-12 for value in found.values()), found
