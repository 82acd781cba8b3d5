"""The recipes: both hosts accept every one, and compare methods under one and the same protocol.

Run as a program in the current host's environment, this file composes, parses and builds them all
there (`build_in_current_host`).
"""

import functools
import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image

from solo_rekd import cli, hosts
from solo_rekd.backbones import build_backbone
from solo_rekd.hosts.shared import checks
from solo_rekd.objectives import OBJECTIVES

SCRIPTS = Path(__file__).parent.parent / "scripts"
DATASETS = ("custom", "cifar", "imagenet-100", "imagenet")
HOST_METHODS = ("mocov2plus", "simclr")
METHODS = (*HOST_METHODS, *OBJECTIVES)
HOME = os.environ.get("SOLO_LEARN_HOME") or None

Compose = Callable[..., Any]
Flags = Callable[..., list[list[str]]]

# What the current host reads without a default.
SHARED_KEYS = """name data.dataset data.train_path data.val_path data.format data.num_workers
    backbone.name optimizer.name optimizer.batch_size optimizer.lr optimizer.weight_decay
    scheduler.name checkpoint.enabled auto_resume.enabled wandb.enabled
    max_epochs seed devices accelerator strategy precision""".split()
PRETRAIN_KEYS = """method optimizer.classifier_lr scheduler.warmup_epochs momentum.base_tau
    momentum.final_tau knn_eval.enabled sync_batchnorm method_kwargs.proj_hidden_dim
    method_kwargs.proj_output_dim method_kwargs.temperature""".split()
VIEW_KEYS = """rrc.enabled rrc.crop_min_scale rrc.crop_max_scale color_jitter.prob
    color_jitter.brightness color_jitter.contrast color_jitter.saturation color_jitter.hue
    grayscale.prob gaussian_blur.prob solarization.prob equalization.prob horizontal_flip.prob
    crop_size num_crops""".split()
# The methods that have no teacher without being given one, and what they are given.
FROZEN = ("bingo", "coss")
FROZEN_NEEDS = [
    "method_kwargs.teacher=resnet18",
    "method_kwargs.teacher_stem=imagenet",
    "method_kwargs.teacher_checkpoint={teacher}",
    "method_kwargs.proj_output_dim=512",
]
LINEAR_KEYS = ["pretrained_feature_extractor", "scheduler.lr_decay_steps"]

# The classic host's name of a setting and the current one's.
SAME = {
    "encoder": "backbone.name",
    "dataset": "data.dataset",
    "num_workers": "data.num_workers",
    "batch_size": "optimizer.batch_size",
    "optimizer": "optimizer.name",
    "weight_decay": "optimizer.weight_decay",
    "scheduler": "scheduler.name",
    "max_epochs": "max_epochs",
}
SAME_IN_PRETRAINING = SAME | {
    "name": "name",
    "method": "method",
    "classifier_lr": "optimizer.classifier_lr",
    "warmup_epochs": "scheduler.warmup_epochs",
    "warmup_start_lr": "scheduler.warmup_start_lr",
    "knn_eval": "knn_eval.enabled",
    "knn_k": "knn_eval.k",
    "save_checkpoint": "checkpoint.enabled",
    "seed": "seed",
}
MOMENTUM = {"base_tau_momentum": "momentum.base_tau", "final_tau_momentum": "momentum.final_tau"}
VIEW = {
    "crop_size": "crop_size",
    "num_crops_per_aug": "num_crops",
    "min_scale": "rrc.crop_min_scale",
    "max_scale": "rrc.crop_max_scale",
    "color_jitter_prob": "color_jitter.prob",
    "brightness": "color_jitter.brightness",
    "contrast": "color_jitter.contrast",
    "saturation": "color_jitter.saturation",
    "hue": "color_jitter.hue",
    "gray_scale_prob": "grayscale.prob",
    "gaussian_prob": "gaussian_blur.prob",
    "solarization_prob": "solarization.prob",
    "horizontal_flip_prob": "horizontal_flip.prob",
}


# The current host's recipes, which Hydra composes without the host.


@pytest.fixture(scope="module")
def compose() -> Iterator[Compose]:
    """Composes a recipe of `scripts/`, or of one folder there."""
    pytest.importorskip("hydra", reason="Hydra is not installed: solo-rekd[current]")
    from hydra import compose as compose_recipe
    from hydra import initialize_config_dir

    from solo_rekd.hosts.current import recipes

    recipes.store_defaults()
    *_, root = recipes.folders()

    def build(name: str, folder: str = ".") -> Any:
        with initialize_config_dir(str(root / folder), version_base="1.2"):
            return compose_recipe(name)

    yield build


def values(cfg: Any) -> dict[str, Any]:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(cfg, resolve=True)


def names(entries: dict[str, Any]) -> set[str]:
    """The dotted names of all entries."""
    inner = {key: names(value) for key, value in entries.items() if isinstance(value, dict)}
    return set(entries) | {f"{key}.{name}" for key, found in inner.items() for name in found}


def recipe_files() -> list[str]:
    return sorted(str(path.relative_to(SCRIPTS)) for path in SCRIPTS.glob("*/*/*.yaml"))


def test_every_data_set_has_every_recipe_for_both_hosts() -> None:
    pretrain = [f"pretrain/{d}/{name}" for d in DATASETS for name in ("protocol", *METHODS)]
    linear = [f"linear/{d}/linear" for d in DATASETS]
    assert recipe_files() == sorted(f"{name}.yaml" for name in [*pretrain, *linear])
    shell = [str(path.relative_to(SCRIPTS)) for path in SCRIPTS.glob("*/*/*.sh")]
    assert sorted(shell) == sorted(f"{name}.sh" for name in [*pretrain, *linear])


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("method", METHODS)
def test_pretraining_recipes_have_what_the_host_reads(
    dataset: str, method: str, compose: Compose
) -> None:
    cfg = compose(f"pretrain/{dataset}/{method}")
    assert set(SHARED_KEYS + PRETRAIN_KEYS) - names(values(cfg)) == set()
    assert len(cfg.augmentations) == 1
    assert set(VIEW_KEYS) - names(values(cfg.augmentations[0])) == set()
    assert (cfg.name, cfg.method, cfg.augmentations[0].num_crops) == (method, method, 2)


@pytest.mark.parametrize("dataset", DATASETS)
def test_linear_recipes_have_what_the_host_reads(dataset: str, compose: Compose) -> None:
    cfg = compose(f"linear/{dataset}/linear")
    assert set(SHARED_KEYS + LINEAR_KEYS) - names(values(cfg)) == set()


@pytest.mark.parametrize("recipe", [name for name in recipe_files() if "protocol" not in name])
def test_a_recipe_is_the_same_from_its_folder_and_by_its_path(
    recipe: str, compose: Compose
) -> None:
    from omegaconf import OmegaConf

    path = Path(recipe).with_suffix("")
    cfg = compose(str(path))
    assert values(cfg) == values(compose(path.name, str(path.parent)))
    # nothing under the folder's name; and the host hands Lightning its settings unresolved
    assert {"pretrain", "linear", "hydra"} & set(cfg) == set()
    assert not [key for key in cfg if OmegaConf.is_interpolation(cfg, key)]


@pytest.mark.parametrize("dataset", DATASETS)
def test_methods_are_compared_under_one_protocol(dataset: str, compose: Compose) -> None:
    runs = {method: values(compose(f"pretrain/{dataset}/{method}")) for method in METHODS}
    heads = {method: run.pop("method_kwargs") for method, run in runs.items()}
    for run in runs.values():
        # what is watched is no part of the protocol
        del run["name"], run["method"], run["knn_eval"]
    # DALI cannot give it its batches; the images are the same
    runs["coss"]["data"]["format"] = runs["mocov2plus"]["data"]["format"]
    assert all(run == runs["mocov2plus"] for run in runs.values())
    for method in HOST_METHODS:
        for name, value in heads[method].items():
            assert heads["rekd"][name] in (value, "auto"), name
    settings = runs["rekd"]["optimizer"]
    devices = runs["rekd"]["devices"]
    assert settings["batch_size"] * (1 if devices == 1 else len(devices)) == 256


@pytest.mark.parametrize("dataset", DATASETS)
def test_large_data_have_the_papers_momentum_and_small_data_the_hosts(
    dataset: str, compose: Compose
) -> None:
    base = 0.999 if dataset.startswith("imagenet") else 0.99
    for method in METHODS:
        momentum = compose(f"pretrain/{dataset}/{method}").momentum
        assert (momentum.base_tau, momentum.final_tau) == (base, 0.999)


# The classic host's recipes, read by its own parser.


@pytest.fixture(scope="module")
def classic() -> ModuleType:
    """The classic host's jobs."""
    pytest.importorskip("solo.args.setup", reason="solo-learn 1.0.2 is not installed")
    return hosts.commands()


@pytest.fixture(scope="module")
def flags_of(tmp_path_factory: pytest.TempPathFactory) -> Flags:
    """Runs a shell recipe with a stand-in for `solo-rekd`, and returns what that was given."""
    folder = tmp_path_factory.mktemp("bin")
    command = folder / "solo-rekd"
    command.write_text(f"#!{sys.executable}\nimport sys\nprint(*sys.argv[1:], '', sep='\\n')\n")
    command.chmod(0o755)

    def run(script: str, *arguments: object) -> list[list[str]]:
        done = subprocess.run(
            ["bash", str(SCRIPTS / script), *map(str, arguments)],
            env=os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=True,
        )
        return [call.splitlines() for call in done.stdout.split("\n\n") if call.strip()]

    return run


def make_folders(root: Path) -> Path:
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(root / split / name / "0.png")
    return root


@pytest.fixture(scope="module", autouse=True)
def any_machine() -> Iterator[None]:
    """Lets recipes for a GPU be read where there is none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "GPU", ())
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder of one image a class: the hosts' parsers look at what is there."""
    return make_folders(tmp_path_factory.mktemp("data"))


def student(dataset: str) -> str:
    return {"custom": "mobilenet_v3_small", "cifar": "resnet18"}.get(dataset, "mobilenet_v3_large")


def arguments(dataset: str, folders: Path) -> list[object]:
    """The positional arguments of a data set's shell recipes."""
    return [folders, student(dataset), *([224] if dataset == "custom" else [])]


@pytest.fixture(scope="module")
def pretraining(classic: ModuleType, flags_of: Flags, folders: Path) -> Callable[..., Namespace]:
    """Parses a shell recipe of pretraining as the host does."""

    def parse(dataset: str, method: str, *flags: str) -> Namespace:
        from solo.args import setup

        script = f"pretrain/{dataset}/{method}.sh"
        (call,) = flags_of(script, *arguments(dataset, folders), *flags)
        assert call[0] == "pretrain"
        return classic.parse(call[1:], setup.parse_args_pretrain)

    return parse


def make_checkpoint(path: Path, dataset: str, prefix: str) -> Path:
    """Writes the student of a data set as a host's pretraining does."""
    backbone = build_backbone(student(dataset), 32 if dataset == "cifar" else 224)
    state = {f"{prefix}.{name}": value for name, value in backbone.state_dict().items()}
    state["classifier.weight"] = torch.zeros(2, backbone.num_features)
    torch.save({"state_dict": state}, path)
    return path


@pytest.fixture(scope="module")
def evaluation(
    classic: ModuleType,
    flags_of: Flags,
    folders: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], tuple[Namespace, list[Namespace]]]:
    """Parses a shell recipe of evaluation as the host does: its linear run, and its kNN if any."""

    @functools.cache
    def parse(dataset: str) -> tuple[Namespace, list[Namespace]]:
        from solo.args import setup

        checkpoint = tmp_path_factory.mktemp("run") / "a-ep=0.ckpt"
        make_checkpoint(checkpoint, dataset, "encoder")
        given = [*arguments(dataset, folders), checkpoint]
        *knn, linear = flags_of(f"linear/{dataset}/linear.sh", *given, "--name", "x")
        assert linear[0] == "linear"
        args = classic.parse(linear[1:], setup.parse_args_linear)
        assert (args.pretrained_feature_extractor, args.name) == (str(checkpoint), "x")
        return args, [cli.parse(call)[1] for call in knn]

    return parse


def make_teacher(path: Path) -> Path:
    """Writes a ResNet-18 as a teacher's checkpoint, for the method that needs one."""
    torch.save(build_backbone("resnet18", 224).state_dict(), path)
    return path


@pytest.mark.parametrize(
    "dataset",
    ["custom", *(pytest.param(name, marks=pytest.mark.slow) for name in DATASETS[1:])],
)
@pytest.mark.parametrize("method", METHODS)
def test_the_classic_host_builds_the_method(
    dataset: str, method: str, pretraining: Callable[..., Namespace], tmp_path: Path
) -> None:
    from solo.methods import METHODS as REGISTERED

    flags = ["--max_epochs", "3"]  # a flag of the user wins
    if method in FROZEN:
        teacher = make_teacher(tmp_path / "teacher.pt")
        for change in FROZEN_NEEDS:
            name, value = change.format(teacher=teacher).removeprefix("method_kwargs.").split("=")
            flags += [f"--{name}", value]
    args = pretraining(dataset, method, *flags)
    model = REGISTERED[args.method](**vars(args))
    assert (model.max_epochs, model.num_classes) == (3, args.num_classes)
    assert model.encoder(torch.zeros(2, 3, *args.crop_size * 2)).shape == (2, model.features_dim)


def test_the_recipe_of_compress_takes_nearly_its_own_schedule(
    pretraining: Callable[..., Namespace],
) -> None:
    steps = ["--lr", "0.01", "--scheduler", "step", "--lr_decay_steps", "90", "120"]
    told = " ".join([*steps, "--max_epochs", "130"])
    for place in ("scripts/pretrain/imagenet/compress.sh", "docs/methods.md"):
        assert told in (SCRIPTS.parent / place).read_text()
    args = pretraining("imagenet-100", "compress", *told.split())
    assert (args.scheduler, args.lr_decay_steps, args.max_epochs) == ("step", [90, 120], 130)


@pytest.mark.parametrize("dataset", DATASETS)
def test_the_classic_host_evaluates_what_it_trained(
    dataset: str, evaluation: Callable[[str], tuple[Namespace, list[Namespace]]]
) -> None:
    linear, knn = evaluation(dataset)
    side = 32 if dataset == "cifar" else 224
    assert linear.crop_size == [side]
    assert linear.backbone_args.get("plugin_encoder", linear.encoder) == student(dataset)
    assert all((args.crop_size, args.encoder) == (side, student(dataset)) for args in knn)
    assert len(knn) == (dataset != "imagenet")


# Both hosts' recipes have the same values.


def differences(args: Namespace, cfg: Any, pairs: dict[str, str]) -> dict[str, tuple[Any, Any]]:
    """The settings of `pairs` that differ, each with the classic and the current host's value."""
    from omegaconf import OmegaConf

    both = {
        classic: (getattr(args, classic), OmegaConf.select(cfg, current, throw_on_missing=True))
        for classic, current in pairs.items()
    }
    return {name: pair for name, pair in both.items() if pair[0] != pair[1]}


def assert_same_machine(args: Namespace, cfg: Any) -> None:
    processes = 1 if cfg.devices == 1 else len(cfg.devices)
    assert len(args.gpus) == processes
    assert int(args.precision) == int(cfg.precision.split("-")[0])
    assert args.dali == (cfg.data.format == "dali")
    if processes > 1:
        assert (args.accelerator, args.strategy) == (cfg.accelerator, cfg.strategy)
        assert args.sync_batchnorm == cfg.sync_batchnorm
    # the current host scales the rate when it parses
    scale = cfg.optimizer.batch_size * processes / 256
    assert args.lr == pytest.approx(cfg.optimizer.lr * scale)


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("method", METHODS)
def test_pretraining_has_the_same_values_in_both_hosts(
    dataset: str, method: str, compose: Compose, pretraining: Callable[..., Namespace]
) -> None:
    teacher = ["--teacher_checkpoint", "t.pt"] if method in FROZEN else []  # which it needs
    args, cfg = pretraining(dataset, method, *teacher), compose(f"pretrain/{dataset}/{method}")
    momentum = {} if method == "simclr" else MOMENTUM
    same = dict(SAME_IN_PRETRAINING)
    if method in HOST_METHODS:  # which fails in the current host alone
        del same["knn_eval"]
    assert differences(args, cfg, same | momentum) == {}
    # here only 1.0.2's has looked at the images, by which the others go
    given = [name for name, value in cfg.method_kwargs.items() if value not in ("auto", None)]
    assert differences(args, cfg, {name: f"method_kwargs.{name}" for name in given}) == {}
    one_view = Namespace(**{name: value[0] for name in VIEW for value in [getattr(args, name)]})
    assert differences(one_view, cfg.augmentations[0], VIEW) == {}
    assert args.unique_augs == 1
    assert_same_machine(args, cfg)


@pytest.mark.parametrize("dataset", DATASETS)
def test_linear_evaluation_has_the_same_values_in_both_hosts(
    dataset: str,
    compose: Compose,
    evaluation: Callable[[str], tuple[Namespace, list[Namespace]]],
) -> None:
    parsed, cfg = evaluation(dataset)[0], compose(f"linear/{dataset}/linear")
    # the classic host lets an encoder of ours in under another name
    encoder = parsed.backbone_args.get("plugin_encoder", parsed.encoder)
    args = Namespace(**vars(parsed) | {"encoder": encoder})
    assert differences(args, cfg, SAME | {"lr_decay_steps": "scheduler.lr_decay_steps"}) == {}
    assert_same_machine(args, cfg)


# The current host, in a process of its own: the two hosts are packages of one name.


def build_in_current_host(folder: Path) -> dict[str, dict[str, Any]]:
    """Builds every recipe as the host's scripts do, and says what came of it."""
    from hydra import compose, initialize
    from omegaconf import OmegaConf

    checks.GPU = ()  # recipes for a GPU can be read where there is none
    hosts.activate()
    from solo.args import linear, pretrain
    from solo.methods import METHODS as REGISTERED

    def compose_recipe(name: str, *overrides: str) -> Any:
        # as the scripts do: where to look, the plug-in tells Hydra by itself
        with initialize(config_path=None, version_base="1.2"):
            cfg = compose(name, list(overrides))
        OmegaConf.set_struct(cfg, False)
        return cfg

    for method in METHODS:
        assert compose_recipe(method) == compose_recipe(f"pretrain/custom/{method}")
    assert compose_recipe("linear") == compose_recipe("linear/custom/linear")

    built = {}
    make_folders(folder)
    teacher = make_teacher(folder / "teacher.pt")
    for dataset in DATASETS:
        data = [f"data.{each}_path={folder / each}" for each in ("train", "val")]
        data = data if dataset != "cifar" else []  # which torchvision would download
        for method in METHODS:
            name = f"pretrain/{dataset}/{method}"
            changes = FROZEN_NEEDS if method in FROZEN else []
            changes = [change.format(teacher=teacher) for change in changes]
            cfg = pretrain.parse_cfg(compose_recipe(name, *data, *changes))
            model = REGISTERED[cfg.method](cfg)
            built[name] = {
                "class": type(model).__name__,
                "processes": len(cfg.devices),
                "lr": model.lr,
                "features": model.features_dim,
                "classes": model.num_classes,
                "knn": model.knn_eval,
            }
        name = f"linear/{dataset}/linear"
        checkpoint = make_checkpoint(folder / f"{dataset}-ep=0.ckpt", dataset, "backbone")
        weights = [f"pretrained_feature_extractor='{checkpoint}'"]
        if dataset == "custom":  # nothing beside the checkpoint tells it
            weights.append("+data.augmentations.crop_size=224")
        cfg = linear.parse_cfg(compose_recipe(name, *data, *weights))
        built[name] = {"processes": len(cfg.devices), "lr": cfg.optimizer.lr}
    return built


@pytest.mark.slow
@pytest.mark.current_host
@pytest.mark.skipif(
    HOME is None, reason="SOLO_LEARN_HOME names no checkout of solo-learn's main branch"
)
def test_the_current_host_builds_every_recipe(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path / "data")],
        env=os.environ | {"PYTHONPATH": str(HOME)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    built = json.loads(done.stdout.splitlines()[-1])
    assert len(built) == len(DATASETS) * (len(METHODS) + 1)
    processes = {"custom": 1, "cifar": 1, "imagenet-100": 2, "imagenet": 8}
    classes = {"custom": 2, "cifar": 10, "imagenet-100": 100, "imagenet": 1000}
    names = {"mocov2plus": "MoCoV2Plus", "simclr": "SimCLR"}
    names |= {name: objective.__name__ for name, objective in OBJECTIVES.items()}
    features = {"custom": 1024, "cifar": 512, "imagenet-100": 1280, "imagenet": 1280}
    for dataset in DATASETS:
        for method in METHODS:
            assert built[f"pretrain/{dataset}/{method}"] == {
                "class": names[method],
                "processes": processes[dataset],
                # for a step of 256 images, so that the host's scale is 1
                "lr": 0.3 if dataset == "cifar" else 0.03,
                "features": features[dataset],
                "classes": classes[dataset],
                "knn": dataset in ("custom", "cifar") and method not in HOST_METHODS,
            }
        lr = 3.0 if dataset.startswith("imagenet") else 0.1
        assert built[f"linear/{dataset}/linear"] == {"processes": 1, "lr": lr}


if __name__ == "__main__":
    print(json.dumps(build_in_current_host(Path(sys.argv[1]))))
