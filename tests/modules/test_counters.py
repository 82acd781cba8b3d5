import copy

import torch
from torch import nn

from solo_rekd.modules.counters import Counters


def test_a_counter_is_a_number_for_the_step_and_a_buffer_for_the_checkpoint():
    counters = Counters(seen=0, steps=-1)
    assert counters.number("steps") == -1
    counters.set_number("seen", 7)
    assert counters.number("seen") == 7
    held = {name: value.tolist() for name, value in counters.state_dict().items()}
    assert held == {"seen": [7], "steps": [-1]}


def test_a_loaded_checkpoint_sets_both():
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.counters = Counters(seen=0)

    first, second = Outer(), Outer()
    first.counters.set_number("seen", 9)
    second.load_state_dict(first.state_dict())
    assert second.counters.number("seen") == 9
    second.counters.set_number("seen", 10)
    assert first.counters.number("seen") == 9


def test_a_copy_counts_for_itself():
    first = Counters(seen=1)
    second = copy.deepcopy(first)
    second.set_number("seen", 2)
    assert (first.number("seen"), int(first.get_buffer("seen"))) == (1, 1)
    assert (second.number("seen"), int(second.get_buffer("seen"))) == (2, 2)


def test_casting_keeps_whole_numbers():
    counters = Counters(seen=2**31 + 1)
    assert counters.to(torch.bfloat16).get_buffer("seen").tolist() == [2**31 + 1]
