"""What is checked and filled in between the current host's configuration and its run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

from omegaconf import OmegaConf
from solo.args import linear, pretrain
from solo.data.classification_dataloader import prepare_transforms

from solo_rekd.backbones import build_backbone
from solo_rekd.hosts.current.evaluation import FIXED_SIDES, evaluate_at
from solo_rekd.utils.errors import UserError

Compose = Callable[..., Any]


@pytest.fixture
def parse(compose: Compose) -> Callable[..., Any]:
    """Composes a recipe for a tiny run and parses it as the host's script does."""

    def run(recipe: str, **changes: Any) -> Any:
        parse_cfg = linear.parse_cfg if recipe == "linear" else pretrain.parse_cfg
        return parse_cfg(compose(recipe, **changes))

    return run


def save(path: Path, network: torch.nn.Module, prefix: str = "backbone.") -> Path:
    """Saves a backbone as a run of the host does."""
    state = {prefix + name: value for name, value in network.state_dict().items()}
    state["classifier.weight"] = torch.zeros(3, 1)
    torch.save({"state_dict": state}, path)
    return path


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """A checkpoint of `alexnet` at 32 px, in a folder without args.json."""
    return save(tmp_path / "last.ckpt", build_backbone("alexnet", 32))


def side_of_validation() -> int:
    """The side in pixels that the host's validation of an image folder has now."""
    return prepare_transforms("custom")[1](Image.new("RGB", (40, 60))).shape[1]


def test_sides_that_the_host_fixes_are_told_as_they_are() -> None:
    image = Image.new("RGB", (300, 300))
    for name, side in FIXED_SIDES.items():
        assert prepare_transforms(name)[0](image).shape[-1] == side
        assert evaluate_at(name, {"crop_size": 48}, {"crop_size": 32}) == side


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data.train_path": "???"}, "data.train_path is missing: give data.train_path=PATH"),
        ({"data.train_path": "nowhere"}, "data.train_path='nowhere' is not allowed: expected a"),
        ({"data.val_path": "{0}/two/val"}, "data.train_path and data.val_path hold different cl"),
        ({"data.train_path": "{0}/flat"}, "data.train_path='.*/flat' .* a folder of class folders"),
        ({"optimizer.lr": "fast"}, "optimizer.lr='fast' is not allowed: expected a number$"),
        ({"data.val_path": "nowhere"}, "data.val_path='nowhere' is not allowed"),
        ({"method": "rkd"}, "method='rkd' is not allowed: expected .*mocov2plus.*rekd"),
        ({"backbone.name": "alexnot"}, "backbone.name='alexnot' .* alexnet, .*timm:NAME"),
        ({"backbone.name": "alexnot"}, "vit_tiny"),  # the host's are named too
        ({"backbone.name": "timm:resnet10"}, "backbone.name='timm:resnet10' .* timm:resnet10t"),
        ({"devices": "some"}, "devices='some' is not allowed"),
        (
            {"optimizer.batch_size": 0},
            "optimizer.batch_size=0 is not allowed: expected a number of",
        ),
        ({"optimizer.lr": -0.1}, "optimizer.lr=-0.1 is not allowed: expected a number of 0"),
        ({"optimizer.name": "sdg"}, "optimizer.name='sdg' is not allowed: expected sgd, .*lars"),
        (
            {"scheduler.name": "cosine"},
            "scheduler.name='cosine' .* expected warmup_cosine, .*step, n",
        ),
        ({"knn_eval.k": 0}, "knn_eval.k=0 is not allowed: expected a number of 1 or more"),
        ({"checkpoint.frequency": 0}, "checkpoint.frequency=0 is not allowed: expected a number o"),
        ({"max_epochs": 0}, "max_epochs=0 is not allowed: expected a number of 1 or more"),
        ({"data.num_workers": -1}, "data.num_workers=-1 is not allowed"),
        ({"augmentations.0.crop_size": 0}, "crop_size=0 is not allowed"),
        ({"data.augmentations.crop_size": 0}, "data.augmentations.crop_size=0 is not allowed"),
        (
            {"+augmentations.0.mean": "[123, 116, 103]"},
            "mean=123 is not allowed: expected a n",
        ),
        ({"augmentations.0.rrc.crop_min_scale": 2}, "crop_min_scale=2 is not allowed"),
        (
            {"augmentations.0.num_crops": 3},
            "augmentations='crops: 3 of 32 px' is not allowed: expected 2 crops of one size",
        ),
        (
            {"data.dataset": "cifar10", "backbone.name": "resnet50x2"},
            "backbone.name='resnet50x2' is not allowed: expected another backbone with cifar10",
        ),
    ],
)
def test_mistakes_in_pretraining(
    changes: dict[str, Any], message: str, parse: Callable[..., Any], data: Path
) -> None:
    with pytest.raises(UserError, match=message):
        parse("rekd", **{key: str(value).format(data) for key, value in changes.items()})


def test_the_rate_is_scaled_by_the_number_of_processes(parse: Callable[..., Any]) -> None:
    rates = [parse("rekd", accelerator="cpu", devices=n).optimizer.lr for n in (1, 2)]
    assert rates[0] == pytest.approx(0.1 * 8 / 256)
    assert rates[1] == pytest.approx(2 * rates[0])


def test_validation_has_the_size_of_training(parse: Callable[..., Any]) -> None:
    parse("rekd")
    assert side_of_validation() == 32
    # without the key of our recipes: ours keep the size of the crops, the host's its 224
    without: dict[str, Any] = {"data.augmentations": None}
    parse("rekd", **without)
    assert side_of_validation() == 32
    parse("mocov2plus", **{"backbone.name": "resnet18"})
    assert side_of_validation() == 224


def test_our_backbones_learn_the_size_and_the_hosts_do_not(parse: Callable[..., Any]) -> None:
    assert parse("mocov2plus").backbone.kwargs == {"img_size": 32}
    assert "kwargs" not in parse("mocov2plus", **{"backbone.name": "resnet18"}).backbone


@pytest.mark.parametrize("changes", [{"data.val_path": "null"}, {"data.no_labels": True}])
def test_no_features_are_collected_where_none_are_evaluated(
    changes: dict[str, Any], parse: Callable[..., Any], data: Path
) -> None:
    if "data.no_labels" in changes:
        changes = changes | {"data.train_path": data / "flat"}
    assert parse("rekd").knn_eval.enabled
    assert not parse("rekd", **changes).knn_eval.enabled


def test_dali_loads_on_the_cpu_without_a_gpu(
    parse: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("nvidia.dali")
    assert parse("rekd", **{"data.format": "dali"}).dali.device == "cpu"
    assert "so DALI loads on the CPU" in caplog.text


def test_a_fitting_checkpoint_is_accepted(parse: Callable[..., Any], trained: Path) -> None:
    size = {"+data.augmentations.crop_size": 32}
    cfg = parse("linear", pretrained_feature_extractor=trained, **size)
    assert cfg.backbone.kwargs.img_size == 32
    assert side_of_validation() == 32


def test_the_run_beside_the_checkpoint_gives_size_and_stem(
    parse: Callable[..., Any], trained: Path
) -> None:
    run = {
        "method": "mocov2plus",
        "backbone": {"name": "alexnet", "kwargs": {"img_size": 32}},
        "augmentations": [{"crop_size": 32, "mean": [0.5, 0.5, 0.5]}],
    }
    (trained.parent / "args.json").write_text(json.dumps(run))
    cfg = parse("linear", pretrained_feature_extractor=trained)
    assert cfg.backbone.kwargs.img_size == side_of_validation() == 32
    grey = prepare_transforms("custom")[1](Image.new("RGB", (32, 32), (127, 127, 127)))
    assert grey[0].abs().max() < 0.02
    # evaluated larger than trained, the student keeps its stem
    size = {"+data.augmentations.crop_size": 96}
    cfg = parse("linear", pretrained_feature_extractor=trained, **size)
    assert (cfg.backbone.kwargs.img_size, side_of_validation()) == (32, 96)


@pytest.mark.parametrize("beside", ["{", "[]", '{"encoder": "alexnet", "method": "rekd"}'])
def test_settings_of_another_program_tell_nothing(
    beside: str, parse: Callable[..., Any], trained: Path
) -> None:
    (trained.parent / "args.json").write_text(beside)
    size = {"+data.augmentations.crop_size": 32}
    cfg = parse("linear", pretrained_feature_extractor=trained, **size)
    assert cfg.backbone.kwargs.img_size == 32


@pytest.mark.parametrize(
    ("name", "prefix", "message"),
    [
        ("resnet18", "backbone.", "does not fit alexnet: of its .* missing.*looks like resnet18"),
        (
            "alexnet",
            "module.encoder_q.",
            "checkpoints of solo-learn current, and this one is of MoCo v1/v2",
        ),
        # it would rename the keys of these and then leave them out
        (
            "alexnet",
            "encoder.",
            "checkpoints of solo-learn current, and this one is of solo-learn to 1.0.2",
        ),
    ],
)
def test_random_weights_are_not_probed(
    name: str, prefix: str, message: str, parse: Callable[..., Any], tmp_path: Path
) -> None:
    checkpoint = save(tmp_path / "last.ckpt", build_backbone(name, 32), prefix)
    size = {"+data.augmentations.crop_size": 32}
    with pytest.raises(UserError, match=message):
        parse("linear", pretrained_feature_extractor=checkpoint, **size)


def test_a_stem_of_another_size_is_refused(parse: Callable[..., Any], trained: Path) -> None:
    size = {"+data.augmentations.crop_size": 224}
    with pytest.raises(UserError, match=r"do not match: features.0.weight is 64x3x3x3 inst"):
        parse("linear", pretrained_feature_extractor=trained, **size)


def test_a_size_that_nothing_tells_is_asked_for(parse: Callable[..., Any], trained: Path) -> None:
    with pytest.raises(UserError, match=r"^data.augmentations.crop_size is missing: "):
        parse("linear", pretrained_feature_extractor=trained)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "wide_resnet28w2", "convnext_tiny"])
@pytest.mark.parametrize("dataset", ["custom", "cifar10"])
def test_the_hosts_own_backbones_are_checked_as_it_builds_them(
    name: str, dataset: str, compose: Compose, parse: Callable[..., Any], tmp_path: Path
) -> None:
    from solo.methods import METHODS

    changes = {"backbone.name": name, "data.dataset": dataset}
    cfg = pretrain.parse_cfg(compose("rekd", **changes))
    checkpoint = tmp_path / "last.ckpt"
    torch.save({"state_dict": METHODS["rekd"](cfg).state_dict()}, checkpoint)
    (tmp_path / "args.json").write_text(json.dumps(OmegaConf.to_container(cfg)))
    found = parse("linear", pretrained_feature_extractor=checkpoint, **changes)
    assert (found.backbone.name, found.data.dataset) == (name, dataset)
    # one tensor of another shape is enough to refuse it
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    key = next(key for key in state if key.startswith("backbone.") and state[key].ndim == 4)
    torch.save({"state_dict": state | {key: state[key][:1]}}, checkpoint)
    with pytest.raises(UserError, match=key.removeprefix("backbone.")):
        parse("linear", pretrained_feature_extractor=checkpoint, **changes)


@pytest.mark.parametrize("path", ["null", "None", "weights.safetensors"])
def test_no_checkpoint_is_the_users_mistake(path: str, parse: Callable[..., Any]) -> None:
    with pytest.raises(UserError, match=r"pretrained_feature_extractor=.* a checkpoint: .ckpt"):
        parse("linear", pretrained_feature_extractor=path)


def test_a_checkpoint_that_is_not_there(parse: Callable[..., Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone.ckpt"):
        parse("linear", pretrained_feature_extractor=tmp_path / "gone.ckpt")


def test_random_weights_are_not_fine_tuned(parse: Callable[..., Any], tmp_path: Path) -> None:
    checkpoint = save(tmp_path / "last.ckpt", build_backbone("resnet18", 32))
    changes = {"+data.augmentations.crop_size": 32, "+finetune": True}
    with pytest.raises(UserError, match=r"last.ckpt.* does not fit alexnet: of its .* missing"):
        parse("linear", pretrained_feature_extractor=checkpoint, **changes)


def test_a_checkpoint_that_fits_is_fine_tuned(parse: Callable[..., Any], trained: Path) -> None:
    size = {"+data.augmentations.crop_size": 32}
    cfg = parse("linear", pretrained_feature_extractor=trained, **size, **{"+finetune": True})
    assert cfg.finetune


def test_weights_that_the_script_would_not_resize_are_refused(
    parse: Callable[..., Any], tmp_path: Path
) -> None:
    name = "timm:vit_tiny_patch16_224"
    checkpoint = save(tmp_path / "last.ckpt", build_backbone(name, 32))
    changes = {"backbone.name": name, "+data.augmentations.crop_size": 64}
    with pytest.raises(UserError, match=r"does not fit timm:vit.* pos_embed is 1x5x192 instead of"):
        parse("linear", pretrained_feature_extractor=checkpoint, **changes)


@pytest.mark.parametrize(
    ("installed", "changes", "message"),
    [
        (False, {}, r"data.format=dali needs NVIDIA DALI: pip install 'solo-rekd\[dali\]'"),
        (True, {"+dali.device": "tpu"}, "dali.device='tpu' is not allowed: expected cpu, gpu"),
        (
            True,
            {"augmentations.0.equalization.prob": 0.1},
            "augmentations.0.equalization.prob=0.1 .* expected 0 with data.format=dali",
        ),
    ],
)
def test_what_dali_does_not_load_is_refused(
    installed: bool,
    changes: dict[str, Any],
    message: str,
    parse: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("solo_rekd.hosts.current.settings.has_dali", lambda: installed)
    with pytest.raises(UserError, match=message):
        parse("rekd", **{"data.format": "dali"}, **changes)
