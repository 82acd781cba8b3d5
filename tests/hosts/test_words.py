"""Words of either host, put into a job."""

from typing import Any

import pytest

from solo_rekd.hosts.jobs import Images, Network, Optimizer, Pretraining, View
from solo_rekd.hosts.words import flags, override, read_words, value_of
from solo_rekd.utils.errors import UserError

JOB = Pretraining(
    method="simclr",
    network=Network("alexnet"),
    images=Images("train"),
    views=(View(), View(crops=1)),
    optimizer=Optimizer("sgd", 0.1),
    batch_size=8,
    epochs=2,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("--precision 16", {"precision": 16}),
        ("--min_scale=0.4 --dali", {"min_scale": 0.4, "dali": True}),
        ("--lr_decay_steps 60 80", {"lr_decay_steps": (60, 80)}),
        ("--gradient_clip_val -1", {"gradient_clip_val": -1}),
        ("optimizer.name=lars --name x", {"optimizer.name": "lars", "name": "x"}),
        ("a.b=1 --c 2", {"a.b": 1, "c": 2}),
    ],
)
def test_words_are_names_with_values(text: str, expected: dict[str, Any]) -> None:
    assert read_words(text.split()) == expected


@pytest.mark.parametrize("text", ["16", "-x", "a.b=1 2"])
def test_a_value_without_a_name_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="belongs to no flag"):
        read_words(text.split())


@pytest.mark.parametrize("name", ["min_scale", "augmentations.rrc.crop_min_scale"])
def test_a_setting_of_the_views_is_one_of_all(name: str) -> None:
    assert [view.min_scale for view in override(JOB, {name: 0.4}).views] == [0.4, 0.4]


@pytest.mark.parametrize(
    ("classic", "current", "value"),
    [
        ("optimizer", "optimizer.name", "lars"),
        ("warmup_epochs", "scheduler.warmup_epochs", 3),
        ("classifier_lr", "optimizer.classifier_lr", 0.1),
        ("final_tau_momentum", "momentum.final_tau", 0.9),
        ("knn_eval", "knn_eval.enabled", True),
    ],
)
def test_both_names_of_a_setting_give_the_same_job(classic: str, current: str, value: Any) -> None:
    changed = override(JOB, {classic: value})
    assert changed == override(JOB, {current: value}) != JOB


def test_what_no_field_holds_is_the_hosts_or_the_methods() -> None:
    job = override(JOB, {"precision": 16, "method_kwargs.temperature": 0.3})
    assert (job.host, job.settings) == ({"precision": 16}, {"temperature": 0.3})


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("16", 16),
        ("-1", -1),
        ("1e-4", 1e-4),
        ("0.10", 0.1),
        ("02", "02"),
        ("0,1", "0,1"),
        ("True", True),
        ("false", False),
        ("null", None),
        ("[0.9,0.95]", [0.9, 0.95]),
        ("[a", "[a"),
        ("nan", "nan"),
        ("bf16", "bf16"),
        ("", ""),
    ],
)
def test_a_text_is_read_as_what_it_looks_like(text: str, value: object) -> None:
    read = value_of(text)
    assert (read, type(read)) == (value, type(value))


def test_what_is_not_set_is_no_flag() -> None:
    assert flags({"a": None, "b": False, "c": True, "d": (1, 2), "e": 0}) == [
        *("--c", "--d", "1", "2", "--e", "0")
    ]
