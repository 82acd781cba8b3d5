"""Memory format, compilation and the teacher's precision in runs of main."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

from omegaconf import OmegaConf
from solo.args import linear, pretrain

from solo_rekd.hosts.current.checks import is_our_run
from solo_rekd.hosts.jobs import (
    Host,
    Images,
    LinearEvaluation,
    Network,
    Optimizer,
    Pretraining,
    Progress,
    View,
)
from solo_rekd.hosts.shared import speed
from solo_rekd.utils.errors import UserError

DISABLED = "performance.disable_channel_last"
HEAD = {"proj_hidden_dim": 16, "proj_output_dim": 8}
SETTINGS: dict[str, dict[str, Any]] = {
    "simclr": HEAD,
    "rekd": HEAD | {"queue_size": 24, "teacher": "timm:resnet10t", "num_prototypes": 4},
}
SHORT = {"limit_train_batches": 1, "limit_val_batches": 1}
SGD = Optimizer("sgd", 0.01, schedule="none")


@pytest.fixture
def train(host: Host, data: Path, tmp_path: Path) -> Callable[..., dict[str, torch.Tensor]]:
    """Trains one step, and returns what its checkpoint holds."""

    def run(method: str, **of_host: Any) -> dict[str, Any]:
        images = Images(f"{data}/train", f"{data}/val", size=32, workers=0)
        job = Pretraining(
            *(method, Network("alexnet"), images, (View(blur=0),), SGD, 8, 1),
            settings=SETTINGS[method],
            host=SHORT | of_host,
        )
        path = host.pretrain(job, tmp_path / "out", None, Progress()).checkpoint
        assert path is not None
        return torch.load(path, weights_only=True) | {"path": path}

    return run


def is_channels_last(tensor: torch.Tensor) -> bool:
    return not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("method", ["rekd", "simclr"])
def test_every_network_of_a_run_lies_as_is_faster(
    method: str, train: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "solo_rekd"):
        held = train(method)["state_dict"]
    assert "student channels_last" in caplog.text
    networks = ["backbone"]
    if method == "rekd":
        networks += ["momentum_backbone"]
        assert "teacher channels_last" in caplog.text
    assert all(is_channels_last(held[f"{name}.features.0.weight"]) for name in networks)


def test_the_hosts_key_keeps_all_contiguous(train: Callable[..., Any]) -> None:
    held = train("rekd", **{DISABLED: True})["state_dict"]
    assert all(value.is_contiguous() for value in held.values())


def test_the_linear_evaluation_takes_the_key(
    host: Host, train: Callable[..., Any], data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = train("simclr")["path"]
    images = Images(f"{data}/train", f"{data}/val", size=32, workers=0)
    of_host = {"limit_train_batches": 1, "memory_format": "contiguous"}
    job = LinearEvaluation(str(checkpoint), Network("alexnet"), images, SGD, 8, 1, host=of_host)
    with caplog.at_level(logging.INFO, "solo_rekd"):
        host.linear(job, None, Progress())
    assert "student contiguous (as asked" in caplog.text


@pytest.mark.parametrize(
    ("changes", "disabled", "noted"),
    [
        ({}, True, "auto"),
        ({"+memory_format": "channels_last"}, False, "channels_last"),
        ({"+memory_format": "contiguous"}, True, "contiguous"),
        ({f"+{DISABLED}": False}, False, "channels_last"),
        ({f"+{DISABLED}": True}, True, "contiguous"),
        ({f"+{DISABLED}": True, "+memory_format": "contiguous"}, True, "contiguous"),
    ],
)
@pytest.mark.parametrize("recipe", ["rekd", "linear"])
def test_the_hosts_key_wins_over_auto(
    recipe: str,
    changes: dict[str, Any],
    disabled: bool,
    noted: str,
    compose: Callable[..., Any],
    trained: Path,
) -> None:
    if recipe == "linear":
        changes = changes | {"pretrained_feature_extractor": trained}
        changes["+data.augmentations.crop_size"] = 32
    parse = linear.parse_cfg if recipe == "linear" else pretrain.parse_cfg
    cfg = parse(compose(recipe, **changes))
    assert cfg.performance.disable_channel_last is disabled
    assert speed.noted().memory_format == noted


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    from solo_rekd.backbones import build_backbone

    state = build_backbone("alexnet", 32).state_dict()
    held = {f"backbone.{name}": value for name, value in state.items()}
    torch.save({"state_dict": held | {"classifier.weight": torch.zeros(3, 1)}}, tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"+memory_format": "nhwc"}, r"memory_format='nhwc'.*contiguous"),
        ({"+memory_format": 1}, r"memory_format=1 .*contiguous"),
        ({"+memory_format": "null"}, r"memory_format=None .*contiguous"),
        ({"+compile": "often"}, r"compile='often'.*true or false"),
        (
            {"+memory_format": "channels_last", f"+{DISABLED}": True},
            rf"{DISABLED}=True.*memory_format=channels_last",
        ),
        (
            {"method_kwargs.teacher_precision": "float16"},
            r"teacher_precision='float16'.*teacher_mode=online",
        ),
    ],
)
def test_what_cannot_be_is_refused(
    changes: dict[str, Any], message: str, compose: Callable[..., Any]
) -> None:
    from solo.methods import METHODS

    with pytest.raises(UserError, match=message):
        METHODS["rekd"].add_and_assert_specific_cfg(pretrain.parse_cfg(compose("rekd", **changes)))


def test_compile_without_a_compiler_is_refused(
    compose: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"no-such-compiler.*CXX"):
        pretrain.parse_cfg(compose("rekd", **{"+compile": True}))


@pytest.mark.parametrize("own", [{"memory_format": "channels_last"}, {"compile": True}])
def test_a_key_of_ours_makes_a_run_of_the_hosts_ours(own: dict[str, Any]) -> None:
    cfg = {"method": "simclr", "backbone": {"name": "resnet18"}}
    assert not is_our_run(OmegaConf.create(cfg | {"compile": False}))
    assert is_our_run(OmegaConf.create(cfg | own))


@pytest.mark.trial
def test_a_compiled_run_keeps_its_keys(train: Callable[..., Any]) -> None:
    plain, compiled = (train("rekd", compile=each)["state_dict"] for each in (False, True))
    assert plain.keys() == compiled.keys()
    name = "backbone.features.0.weight"
    torch.testing.assert_close(compiled[name], plain[name], rtol=0.05, atol=1e-3)
