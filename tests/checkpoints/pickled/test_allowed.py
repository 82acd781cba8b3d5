"""What a file may ask for, and what becomes of the rest."""

import argparse
import collections
import datetime
import enum
import functools
import pathlib
from typing import Any

import numpy as np
import pytest
import torch

from solo_rekd.checkpoints.pickled.allowed import CONTENTS, FUNCTIONS, VALUES, find
from solo_rekd.checkpoints.pickled.inert import Foreign, Inert
from solo_rekd.checkpoints.read import read_file

WAYS = [(is_zip, protocol) for is_zip in (True, False) for protocol in (2, 4, 5)]


class Colour(enum.Enum):
    RED = 1


class History:
    def __init__(self) -> None:
        self.values = collections.deque([(0.1, 1)], maxlen=5)


def plain() -> dict[str, Any]:
    return {
        "none": None,
        "number": -3,
        "long": 2**100,
        "fraction": 0.5,
        "complex": 1 - 2j,
        "text": "a\nß",
        "bytes": b"\x00\xff",
        "list": [1, [2, ()]],
        "set": {1, "a"},
        "key": {(1, "a"): 2, 0.5: 3, None: 4},
        "size": torch.Size([2, 3]),
        "dtype": torch.bfloat16,
        "device": torch.device("cuda:1"),
        "counter": collections.Counter("aab"),
        "ordered": collections.OrderedDict(b=1, a=2),
        "arguments": argparse.Namespace(lr=0.1, names=["a"]),
    }


def foreign() -> dict[str, Any]:
    return {
        "partial": functools.partial(print, 1),
        "path": pathlib.PurePosixPath("/a/b"),
        "enum": Colour.RED,
        "object": History(),
        "function": print,
        "class": History,
        "day": datetime.date(2020, 1, 2),
        "slice": slice(1, 2),
        "array": np.arange(6).reshape(2, 3),
        "objects": np.array([None], dtype=object),
        "text": np.str_("a"),
        "generator": np.random.default_rng(0),
    }


@pytest.mark.parametrize(("is_zip", "protocol"), WAYS)
def test_a_mixed_file_keeps_its_tensors_and_plain_values(tmp_path, is_zip, protocol) -> None:
    weights = {"a": torch.randn(3, 4), "b": torch.randn(2).bfloat16()}
    content = {"model": weights, "plain": plain(), "foreign": foreign()}
    torch.save(
        content,
        path := tmp_path / "t.pth",
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=is_zip,
    )
    read = read_file(path)
    assert all(torch.equal(read.content["model"][name], weights[name]) for name in weights)
    assert read.content["plain"] == plain()
    for name in ("ordered", "counter", "arguments", "device", "size"):
        assert type(read.content["plain"][name]) is type(plain()[name])
    assert all(isinstance(value, Foreign) for value in read.content["foreign"].values())
    assert {"functools.partial", "pathlib.PurePosixPath", f"{__name__}.Colour"} <= set(read.inert)


def test_contents_of_known_containers_are_kept(tmp_path) -> None:
    held = {
        "rate": np.float32(0.5),
        "steps": np.int64(7),
        "truth": np.bool_(True),
        "groups": collections.defaultdict(list, {"a": [1]}),
        "last": collections.deque([1, 2], maxlen=2),
        "weight": torch.ones(1),
    }
    torch.save(held, path := tmp_path / "t.pth")
    read = read_file(path)
    assert read.content == {**held, "groups": {"a": [1]}, "last": [1, 2]}
    assert type(read.content["rate"]) is float and type(read.content["truth"]) is bool
    assert "collections.defaultdict" in read.inert and "builtins.list" in read.inert


def test_settings_that_a_lightning_or_omegaconf_wrote_do_not_prevent_reading(tmp_path) -> None:
    omegaconf = pytest.importorskip("omegaconf")
    parsing = pytest.importorskip("pytorch_lightning.utilities.parsing")
    settings = omegaconf.OmegaConf.create({"a": {"b": 1}})
    held = {"hyper_parameters": parsing.AttributeDict(method="mocov3"), "settings": settings}
    torch.save({"state_dict": {"a": torch.ones(2)}, **held}, path := tmp_path / "t.ckpt")
    content = read_file(path).content
    assert content["hyper_parameters"] == {"method": "mocov3"}
    assert isinstance(content["settings"], Inert)


def test_a_state_dict_keeps_the_versions_of_its_modules(tmp_path) -> None:
    state = torch.nn.BatchNorm1d(2).state_dict()
    torch.save({"state_dict": state}, path := tmp_path / "t.pth")
    assert read_file(path).content["state_dict"]._metadata == state._metadata


def test_a_file_without_a_tensor_is_refused_only_for_its_objects(tmp_path) -> None:
    torch.save({"epoch": 3}, path := tmp_path / "t.pth")
    assert read_file(path).content == {"epoch": 3}


def test_the_list_holds_no_function_of_others() -> None:
    calls = [*FUNCTIONS.values(), *CONTENTS.values()]
    assert {call.__module__.split(".")[0] for call in calls} == {"solo_rekd"}
    assert not any(callable(value) for value in VALUES.values())


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "torch.load", "torch.hub.load"])
def test_what_is_not_on_the_list_cannot_be_called(name: str) -> None:
    assert type(find(name)) is Foreign and not callable(find(name))
