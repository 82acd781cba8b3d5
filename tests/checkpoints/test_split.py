"""A network is found under any prefix, whole, and no tensor of it is taken twice."""

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from solo_rekd.checkpoints.formats import CONTAINERS, FLAT
from solo_rekd.checkpoints.split import split_state_dict
from solo_rekd.checkpoints.wrappers import WRAPPERS
from solo_rekd.utils.errors import UserError

SHAPES = {
    "conv1.weight": (2, 3, 3, 3),
    "bn1.weight": (2,),
    "bn1.bias": (2,),
    "bn1.running_mean": (2,),
    "layer1.0.conv1.weight": (2, 2, 3, 3),
    "layer1.0.bn1.weight": (2,),
    "layer1.0.downsample.0.weight": (2, 2, 1, 1),
}
HEAD = {"0.weight": (4, 2), "0.bias": (4,), "2.weight": (3, 4), "2.bias": (3,)}
# words that mean nothing to any format, as a user's own module has them
WORDS = st.sampled_from(("trunk", "inner", "a", "my_net", "wrapped", "left"))
NESTS = st.lists(WORDS, max_size=4)


def tensors(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=draw) for name, shape in shapes.items()}


def wrap(key: str, wrappers: list[str], place: int) -> str:
    """A key with what torch and Lightning put into it, at one place."""
    parts = key.split(".")
    place %= len(parts)
    return ".".join([*parts[:place], *wrappers, *parts[place:]])


def contained(held: dict[str, Any], container: str) -> dict[str, Any]:
    return held if container == FLAT else {container: held, "epoch": 3}


@given(
    NESTS,
    st.sampled_from(CONTAINERS),
    st.lists(st.sampled_from(sorted(WRAPPERS)), max_size=2),
    st.integers(0, 3),
    st.booleans(),
)
def test_no_tensor_is_lost_or_taken_twice(
    nest: list[str], container: str, wrappers: list[str], place: int, with_head: bool
) -> None:
    network, head = tensors(SHAPES, 0), tensors(HEAD, 1)
    prefix = "".join(f"{word}." for word in nest)
    held = {prefix + key: value for key, value in network.items()}
    if with_head:
        outer = "".join(f"{word}." for word in nest[:-1])
        held |= {f"{outer}projector.{key}": value for key, value in head.items()}
    held = {wrap(key, wrappers, place): value for key, value in held.items()}
    found = split_state_dict(contained(held, container))
    taken = [*found.backbone.values(), *found.head.values()]
    assert len(taken) == len({id(each) for each in taken})
    for key, value in network.items():
        assert found.backbone[key] is value
    if with_head and nest:
        assert {key: id(value) for key, value in found.head.items()} == {
            key: id(value) for key, value in head.items()
        }
    elif not with_head:
        assert found.backbone.keys() == network.keys()


@given(
    st.dictionaries(
        st.lists(
            st.sampled_from(
                ("module", "backbone", "encoder_q", "momentum", "student", "0", "conv1", "weight")
            ),
            min_size=1,
            max_size=4,
        ).map(".".join),
        st.sampled_from([(2, 3, 3, 3), (2, 2), (2,), ()]),
        max_size=12,
    ),
    st.sampled_from(CONTAINERS),
)
def test_of_any_keys_each_tensor_is_taken_once_at_most_or_the_file_is_refused(
    shapes: dict[str, tuple[int, ...]], container: str
) -> None:
    held = tensors(shapes, 2)
    try:
        found = split_state_dict(contained(held, container))
    except UserError as error:
        assert "\n" not in str(error)
        return
    taken = [id(each) for each in (*found.backbone.values(), *found.head.values())]
    assert len(taken) == len({*taken})
    assert {*taken} <= {id(each) for each in held.values()}
