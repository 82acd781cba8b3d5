"""The shell recipes parse in the host, for every method, with the same shared settings."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from solo_rekd import hosts

RECIPES = Path(__file__).parent.parent / "scripts"


@pytest.fixture(scope="module")
def echo(tmp_path_factory):
    """A stand-in for `solo-rekd` that prints its arguments, one a line."""
    folder = tmp_path_factory.mktemp("bin")
    command = folder / "solo-rekd"
    command.write_text(f"#!{sys.executable}\nimport sys\nprint(*sys.argv[1:], '', sep='\\n')\n")
    command.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (folder / split / name).mkdir(parents=True)
    return folder


def flags_of(script, echo, *arguments):
    environment = {**os.environ, "PATH": f"{echo}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", str(RECIPES / script), *map(str, arguments)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [line.splitlines() for line in done.stdout.split("\n\n") if line.strip()]


@pytest.mark.parametrize("method", ["mocov2plus", "simclr", "rekd"])
def test_pretraining_recipes_parse(method, echo, data):
    from solo.args import setup

    host = hosts.commands()
    script = f"pretrain/custom/{method}.sh"
    (command,) = flags_of(script, echo, data, "alexnet", 32, "--max_epochs", "3")
    assert command[0] == "pretrain"
    args = host.parse(command[1:], setup.parse_args_pretrain)
    assert (args.method, args.encoder, args.max_epochs) == (method, "alexnet", 3)
    assert (args.batch_size, args.weight_decay, args.temperature) == (256, 1e-4, 0.2)
    if method == "rekd":
        assert args.teacher == "resnet50"


def test_linear_recipe_parses(echo, data):
    host = hosts.commands()
    knn, linear = flags_of("linear/custom/linear.sh", echo, data, "alexnet", 32, "x.ckpt")
    assert (knn[0], linear[0]) == ("knn", "linear")
    args = host.parse(knn[1:], host.parse_knn)
    assert args.pretrained_feature_extractor == "x.ckpt"
    assert args.backbone_args["plugin_encoder"] == "alexnet"
