import dataclasses
import re
from argparse import ArgumentParser
from typing import Any

import pytest

from solo_rekd.config import (
    PRESET_NAMES,
    PRESETS,
    CompressConfig,
    DiscoConfig,
    DistillationConfig,
    RekdConfig,
    SeedConfig,
    add_flags,
    from_settings,
    preset,
    refuse_unknown,
)
from solo_rekd.objectives import OBJECTIVES
from solo_rekd.utils.errors import UserError

CONFIGS = {name: objective.config_class for name, objective in OBJECTIVES.items()}
FIELDS = {
    f"{name}-{option.name}": option
    for name, config in CONFIGS.items()
    for option in dataclasses.fields(config)
}


def parse(*argv: str, config: type[DistillationConfig] = RekdConfig) -> Any:
    parser = ArgumentParser()
    add_flags(parser, config, "title")
    return parser.parse_args(argv)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_flags_without_a_value_are_the_defaults(config: type[DistillationConfig]) -> None:
    given = {"teacher_checkpoint": "a.pt"}  # which some cannot do without
    flags = parse("--teacher_checkpoint=a.pt", config=config)
    assert from_settings(config, vars(flags)) == config(**given)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_help_names_every_setting_with_its_default(config: type[DistillationConfig]) -> None:
    parser = ArgumentParser()
    add_flags(parser, config, "title")
    text = " ".join(parser.format_help().split())
    for option in dataclasses.fields(config):
        assert f"--{option.name} " in text
        assert f"Default: {option.default} ({option.metadata['source']})." in text


@pytest.mark.parametrize("option", FIELDS.values(), ids=FIELDS)
def test_every_setting_says_what_it_is(option: Any) -> None:
    assert option.metadata["help"]
    source = option.metadata["source"]
    assert source == "ours" or re.fullmatch(r"(the code of )?arXiv \d{4}\.\d{5}", source)
    if option.name.endswith("epochs"):
        assert option.metadata["unit"] == "epochs"


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("temperature", "0.1", 0.1),
        ("queue_size", "4096", 4096),
        ("teacher_checkpoint", "a.pt", "a.pt"),
        ("dictionary", "teacher", "teacher"),
        ("own_weight", "0.25", 0.25),
        ("own_weight", "uniform", "uniform"),
        ("teacher_mean", "0.1 0.2 0.3", (0.1, 0.2, 0.3)),
        ("teacher_mean", "0.5", (0.5, 0.5, 0.5)),
        ("teacher_std", "auto", "auto"),
        ("teacher_size", "128", 128),
        ("teacher_size", "auto", "auto"),
    ],
)
def test_flags_are_read(name: str, text: str, value: Any) -> None:
    given = vars(parse(f"--{name}", *text.split()))
    assert getattr(from_settings(RekdConfig, given), name) == value


@pytest.mark.parametrize("flag", ["--dictionary=none", "--queue_size=1.5"])
def test_flags_of_another_kind_are_refused(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(flag)
    assert stopped.value.code == 2
    assert flag.partition("=")[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.0),
        ("teacher_temperature", -1.0),
        ("queue_size", 0),
        ("proj_output_dim", 0),
        ("relation_weight", 1.5),
        ("own_weight", -0.1),
        ("own_weight", float("nan")),
        ("own_weight", "heavy"),
        ("prototype_momentum", 1.01),
        ("num_prototypes", 0),
        ("teacher_warmup_epochs", -1),
        ("dictionary", "none"),
        ("teacher_mode", "thawed"),
        ("teacher_stem", "big"),
        ("teacher_size", 0),
        ("teacher_size", "big"),
        ("teacher_size", "native"),  # of no checkpoint
        ("teacher_mean", "grey"),
        ("teacher_mean", (0.5, 0.5)),
        ("teacher_mean", (0.5, 0.5, 127.5)),
        ("teacher_std", (0.5, 0.5, 0.0)),
        ("teacher_std", (0.5, 0.5, float("nan"))),
    ],
)
def test_values_out_of_range_are_refused(name: str, value: Any) -> None:
    with pytest.raises(UserError) as caught:
        RekdConfig(**{name: value})
    assert str(caught.value).startswith(f"{name}={value!r} is not allowed: expected ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "name", "value"),
    [
        (DiscoConfig, "consistency_weight", -1.0),
        (SeedConfig, "target_temperature", 0.0),
        (CompressConfig, "target_temperature", -0.04),
        (CompressConfig, "temperature", 0.0),
        (CompressConfig, "queue_size", 0),
        (CompressConfig, "variant", "3q"),
    ],
)
def test_values_out_of_range_are_refused_by_the_others_too(
    config: type[DistillationConfig], name: str, value: Any
) -> None:
    with pytest.raises(UserError, match=rf"^{name}={value!r} is not allowed: expected "):
        config(**{name: value})


def test_an_objective_may_have_its_own_default_of_a_shared_setting() -> None:
    assert (CompressConfig().temperature, CompressConfig.KEYS_PER_IMAGE) == (0.04, 2)
    assert (SeedConfig().temperature, SeedConfig.KEYS_PER_IMAGE) == (0.2, 1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("relation_weight", 0), ("relation_weight", 1), ("own_weight", 0), ("own_weight", 1)],
)
def test_the_ends_of_a_range_are_allowed(name: str, value: Any) -> None:
    assert getattr(RekdConfig(**{name: value}), name) == value


def test_more_prototypes_than_keys_are_refused() -> None:
    assert RekdConfig(num_prototypes=8, queue_size=8).num_prototypes == 8
    with pytest.raises(UserError, match=r"^num_prototypes=9 .* at most queue_size=8, or auto$"):
        RekdConfig(num_prototypes=9, queue_size=8)


def test_lengths_follow_from_the_run() -> None:
    config = RekdConfig().settled(epochs=40, queue=64)
    found = config.queue_size, config.num_prototypes, config.teacher_warmup_epochs
    assert found == (64, 16, 4)
    given = {"queue_size": 512, "num_prototypes": 7, "teacher_warmup_epochs": 3}
    config = RekdConfig(**given).settled(epochs=40, queue=64)
    assert {name: getattr(config, name) for name in given} == given
    assert SeedConfig().settled(epochs=1, queue=8) == SeedConfig(queue_size=8)


def test_a_queue_of_unknown_length_is_refused() -> None:
    with pytest.raises(UserError, match=r"^queue_size='auto' is not .* a number of keys"):
        SeedConfig().settled(epochs=1)


@pytest.mark.parametrize("name", ["queue_size", "num_prototypes", "teacher_warmup_epochs"])
def test_a_length_is_a_whole_number_or_auto(name: str) -> None:
    assert getattr(from_settings(RekdConfig, {name: "auto"}), name) == "auto"
    with pytest.raises(UserError, match=rf"^{name}='many' is not .* a whole number, or auto$"):
        RekdConfig(**{name: "many"})


def test_a_frozen_teacher_needs_weights() -> None:
    with pytest.raises(UserError, match="needs teacher_checkpoint=PATH"):
        RekdConfig(teacher_mode="frozen")
    assert RekdConfig(teacher_mode="frozen", teacher_checkpoint="a.pt").teacher_mode == "frozen"


@pytest.mark.parametrize("value", [-0.1, 1001.0, float("inf"), float("nan")])
def test_a_mix_has_a_share_that_can_be_drawn(value: float) -> None:
    with pytest.raises(
        UserError, match=r"^mixup=\S+ is not allowed: expected a .*number from 0 to"
    ):
        SeedConfig(teacher_mode="frozen", teacher_checkpoint="a.pt", mixup=value)


def test_images_are_mixed_for_a_frozen_teacher_alone() -> None:
    with pytest.raises(UserError, match=r"^mixup=1.0 is .* 0 with teacher_mode=online, or teach"):
        SeedConfig(mixup=1.0)


@pytest.mark.parametrize(("method", "setting"), [("rekd", "relation"), ("crcd", "gradient_task")])
def test_labels_that_a_loss_reads_are_not_mixed(method: str, setting: str) -> None:
    frozen = {"teacher_mode": "frozen", "teacher_checkpoint": "a.pt", setting: "labels"}
    assert CONFIGS[method](**frozen).reads_labels == f"{setting}=labels"
    with pytest.raises(UserError, match=rf"^mixup=0.2 is not .* 0 with {setting}=labels: labels"):
        CONFIGS[method](**frozen, mixup=0.2)


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_a_preset_is_of_settings_that_its_method_has(name: str) -> None:
    method, _, named = name.partition(":")
    bundle = preset(method, named)
    refuse_unknown(CONFIGS[method], bundle)
    config = from_settings(CONFIGS[method], bundle | {"teacher_checkpoint": "a.pt"})
    assert {key: getattr(config, key) for key in bundle} == PRESETS[method][named]
    assert preset(method, None) == {}


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(UserError, match=r"^preset='x' is not allowed: expected lightly$"):
        preset("seed", "x")
    with pytest.raises(UserError, match=r"^preset='lightly' .* expected none: byol has no preset$"):
        preset("byol", "lightly")


def test_settings_of_others_are_ignored() -> None:
    config = from_settings(DistillationConfig, {"lr": 0.1, "num_prototypes": 3, "teacher": "a"})
    assert config == DistillationConfig(teacher="a")


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("temperature", 1, 1.0),
        ("queue_size", "512", 512),
        ("own_weight", "uniform", "uniform"),
        ("own_weight", 1, 1.0),
        ("teacher_checkpoint", None, None),
        ("teacher_mean", [0.5, 0.5, 1], (0.5, 0.5, 1.0)),
        ("teacher_mean", "0.5,0.5,1", (0.5, 0.5, 1.0)),
        ("teacher_mean", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        ("teacher_mean", ("0.5", "0.5", "0.5"), (0.5, 0.5, 0.5)),
        ("teacher_mean", "0.5/0.5/0.5", (0.5, 0.5, 0.5)),  # for an arm, which has no comma
        ("teacher_size", 128, 128),
        ("teacher_size", "native", "native"),
    ],
)
def test_values_from_a_file_are_read_as_flags_are(name, value, expected):
    weights = {} if name == "teacher_checkpoint" else {"teacher_checkpoint": "a.pt"}
    found = getattr(from_settings(RekdConfig, {name: value} | weights), name)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("queue_size", 512.5, "a whole number, or auto"),
        ("queue_size", True, "a whole number, or auto"),
        ("queue_size", [512], "a whole number, or auto"),
        ("temperature", "warm", "a number, or auto"),
        ("temperature", None, "a number, or auto"),
    ],
)
def test_a_value_of_another_type_is_refused(name, value, kind):
    with pytest.raises(UserError) as caught:
        from_settings(RekdConfig, {name: value})
    assert str(caught.value) == f"{name}={value!r} is not allowed: expected {kind}"


def test_unknown_keys_are_refused_with_the_known_ones():
    refuse_unknown(RekdConfig, {"teacher": "resnet50", "dictionary": "both"})
    with pytest.raises(UserError, match=r"method_kwargs.teachr='a' .* teacher, or another of pro"):
        refuse_unknown(RekdConfig, {"dictionary": "both", "teachr": "a"})
    with pytest.raises(UserError, match=r"method_kwargs.lr=1 is not allowed: expected proj_hidden"):
        refuse_unknown(DistillationConfig, {"lr": 1})


@pytest.mark.parametrize("setting", [{"teacher_lr": 0.1}, {"teacher_frozen": 0.5}])
def test_what_a_teacher_learns_is_not_asked_of_one_that_does_not(setting):
    (name,) = setting
    RekdConfig(**setting)
    with pytest.raises(UserError, match=rf"{name}=.* teacher_mode=frozen"):
        RekdConfig(teacher_mode="frozen", teacher_checkpoint="t.pth", **setting)
