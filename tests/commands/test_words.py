import argparse

import pytest

from solo_rekd.commands.words import declare_others, split_keys, values_of_others
from solo_rekd.utils.errors import OneLineParser, UserError


def test_keys_of_main_are_taken_out() -> None:
    words = ["--name", "x", "optimizer.kwargs.eta=0.01", "--lr", "1", "+a.b=c=d", "runs/ep=0.ckpt"]
    plain, keys = split_keys(words, ["precision=16", "data.format=dali"])
    assert plain == ["--name", "x", "--lr", "1", "runs/ep=0.ckpt"]
    assert keys == {
        "optimizer.kwargs.eta": 0.01,
        "a.b": "c=d",
        "precision": 16,
        "data.format": "dali",
    }


def test_after_the_bare_dashes_are_keys_alone() -> None:
    with pytest.raises(UserError, match="--precision"):
        split_keys([], ["--precision", "16"])


def read(*words: str) -> argparse.Namespace:
    parser = OneLineParser(allow_abbrev=False)
    parser.add_argument("--lr", type=float)
    declare_others(parser, words)
    return parser.parse_args(words)


def test_other_flags_keep_their_values() -> None:
    args = read("--knn_eval", "--lr", "1", "--steps", "3", "4", "--devices=2", "--name", "007")
    assert args.lr == 1
    assert values_of_others(args) == {
        "knn_eval": True,
        "steps": (3, 4),
        "devices": 2,
        "name": "007",
    }


def test_a_stray_word_is_no_value_of_an_earlier_flag() -> None:
    with pytest.raises(UserError, match="unrecognized arguments: 2"):
        read("--knn_eval", "--lr", "1", "2")


def test_a_beginning_of_a_flag_is_not_that_flag() -> None:
    assert values_of_others(read("--l", "3")) == {"l": 3}
