from collections import deque

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from solo_rekd.modules.queue import KeyQueue, random_keys


def make(size):
    return KeyQueue(keys=torch.full((size, 2), -1.0), ids=torch.full((size,), -1))


@pytest.mark.parametrize("size", [1, 4, 7, 8])
@pytest.mark.parametrize("batches", [[3, 3, 3], [8, 1], [20], [1, 2, 3, 4, 5], [4, 4, 4]])
def test_holds_the_last_entries_of_any_batches(size, batches):
    queue, pushed = make(size), []
    for batch in batches:
        ids = torch.arange(len(pushed), len(pushed) + batch)
        queue.push(keys=torch.stack([ids, ids * 10], 1).float(), ids=ids)
        pushed += ids.tolist()
        held = sorted(value for value in queue["ids"].tolist() if value >= 0)
        assert held == pushed[-size:]
        # the fields stay aligned
        known = queue["ids"] >= 0
        assert (queue["keys"][known, 1] == 10 * queue["ids"][known]).all()
        assert queue.full == (len(pushed) >= size)


def test_overwrites_the_oldest_first_and_wraps_around():
    queue = make(4)
    queue.push(keys=torch.zeros(3, 2), ids=torch.tensor([0, 1, 2]))
    queue.push(keys=torch.zeros(3, 2), ids=torch.tensor([3, 4, 5]))
    assert queue["ids"].tolist() == [4, 5, 2, 3]


@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_newest_gives_the_last_entries_backwards(count):
    queue = make(4)
    for start in (0, 3):
        ids = torch.arange(start, start + 3)
        queue.push(keys=torch.stack([ids, ids], 1).float(), ids=ids)
    found = queue.newest(count)
    assert found["ids"].tolist() == [5, 4, 3, 2][:count]
    assert found["keys"][:, 0].tolist() == found["ids"].tolist()


def test_goes_on_where_a_checkpoint_stopped():
    queue, copy = make(5), make(5)
    queue.push(keys=torch.ones(3, 2), ids=torch.arange(3))
    copy.load_state_dict(queue.state_dict())
    for each in (queue, copy):
        each.push(keys=torch.ones(4, 2), ids=torch.arange(10, 14))
    assert copy["ids"].tolist() == queue["ids"].tolist()
    assert copy.full


def test_random_keys_are_unit_vectors():
    torch.testing.assert_close(random_keys(9, 5).norm(dim=1), torch.ones(9))


@given(st.integers(1, 9), st.lists(st.tuples(st.integers(0, 25), st.booleans()), max_size=8))
def test_it_is_a_list_that_forgets_whatever_is_pushed_and_wherever_it_resumes(size, pushes):
    queue, model, pushed = make(size), deque([-1] * size, size), 0
    for batch, resumes in pushes:
        ids = torch.arange(pushed, pushed + batch)
        queue.push(keys=torch.stack([ids, ids * 10], 1).float(), ids=ids)
        model.extend(ids.tolist())
        pushed += batch
        if resumes:
            state = {name: value.clone() for name, value in queue.state_dict().items()}
            queue = make(size)
            queue.load_state_dict(state)
        newest = queue.newest(size)
        assert newest["ids"].tolist() == [*model][::-1]
        known = newest["ids"] >= 0
        assert (newest["keys"][known, 1] == 10 * newest["ids"][known]).all()
        assert queue.full == (pushed >= size)
        assert queue["ids"].shape == (size,)
