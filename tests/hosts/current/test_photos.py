"""Photos without labels in the current host, in every form that a run may be given."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from messy_photos import BROKEN, NUMBER, write_photos

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

from solo.args import pretrain

from solo_rekd.hosts.current.run import expected_training, training_set
from solo_rekd.utils.errors import UserError

Script = Callable[..., str]
Arguments = Callable[..., list[str]]
FORMS = ("folder", "index", "list", "part")


@pytest.fixture
def photos(data: Path, tmp_path: Path) -> dict[str, Path]:
    return write_photos(data / "train", tmp_path)


def unlabelled(given: Path) -> dict[str, Any]:
    return {
        "data.train_path": given,
        "data.val_path": "null",
        "data.no_labels": True,
        "backbone.name": "shufflenet_v2_x1_0",
        "optimizer.batch_size": 5,
    }


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_as_one_set_of_photos(
    form: str, compose: Callable[..., Any], photos: dict[str, Path]
) -> None:
    cfg = pretrain.parse_cfg(compose("rekd", **unlabelled(photos[form])))
    dataset = training_set(cfg)
    number = NUMBER - (form == "part")
    assert (len(dataset), expected_training(cfg).images) == (number, number)
    assert cfg.data.num_classes == 1
    place, image, label = dataset[3]
    assert (place, label, image.size) == (3, -1, (32, 32))


def test_a_share_of_an_index(compose: Callable[..., Any], photos: dict[str, Path]) -> None:
    changes = unlabelled(photos["index"]) | {"+data.fraction": 0.4}
    cfg = pretrain.parse_cfg(compose("rekd", **changes))
    dataset = training_set(cfg)
    assert len(dataset) == expected_training(cfg).images == 10
    assert len([*dataset]) == 10


def test_an_index_has_no_classes(compose: Callable[..., Any], photos: dict[str, Path]) -> None:
    changes = unlabelled(photos["index"]) | {"data.no_labels": False}
    with pytest.raises(UserError, match="index of photos without labels"):
        pretrain.parse_cfg(compose("rekd", **changes))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["folder", "list"])
def test_a_script_trains_on_photos_of_which_one_is_broken(
    form: str, run_script: Script, arguments: Arguments, photos: dict[str, Path], tmp_path: Path
) -> None:
    changes = unlabelled(photos[form]) | {"data.num_workers": 1}
    shown = run_script("main_pretrain.py", *arguments("rekd", **changes))
    assert f"{BROKEN} cannot be decoded" in shown
    (line,) = (line for line in shown.splitlines() if "could not be read" in line)
    assert f"1 of {NUMBER} photos" in line and BROKEN in line
    (path,) = tmp_path.rglob("*.ckpt")
    state = torch.load(path, weights_only=True)["state_dict"]
    assert all(tensor.isfinite().all() for tensor in state.values())
