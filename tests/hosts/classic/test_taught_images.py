"""A frozen teacher that sees each training image once, in the classic host."""

import logging
import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn.functional import normalize
from torchvision.datasets import ImageFolder
from torchvision.transforms import functional as transforms

from solo_rekd.checkpoints.load import load_networks
from solo_rekd.hosts.shared.resume import differences
from solo_rekd.hosts.shared.training_images import SeededViews
from solo_rekd.objectives.distillation import DistillationObjective
from solo_rekd.utils.errors import UserError

FLAT = {"train_dir": "flat", "val_dir": None, "no_labels": True}
Train = Callable[..., dict[str, Any]]
# two views that are the image itself
PLAIN = {
    "brightness": 0,
    "contrast": 0,
    "saturation": 0,
    "hue": 0,
    "gray_scale_prob": 0,
    "horizontal_flip_prob": 0,
    "min_scale": 1,
}


@pytest.fixture
def taught(train: Train, frozen_teacher: dict[str, Any], tmp_path: Path) -> Train:
    """A run of a method whose frozen teacher sees the images once, kept in `tmp_path / "kept"`."""

    def run(method: str, **changes: Any) -> dict[str, Any]:
        settings = {"teacher_view": "image", "teacher_cache": tmp_path / "kept"}
        return train(method, **frozen_teacher | settings | {"limit_val_batches": 0} | changes)

    return run


@pytest.fixture
def likeness(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How like the embedding of each image is to that of its own view, the lowest of each step."""
    found: list[float] = []
    teach = DistillationObjective.teach

    def look(self: Any, batch: Any) -> Any:
        kept = self.taught_images.look_up(batch.indexes, self.teacher.dtype)[1]
        own = self.teacher(batch.images[0])[1]
        found.append(float((kept * own).sum(1).min()))
        return teach(self, batch)

    monkeypatch.setattr(DistillationObjective, "teach", look)
    return found


def state(run: dict[str, Any]) -> dict[str, torch.Tensor]:
    return torch.load(run["checkpoint"], weights_only=True)["state_dict"]


@pytest.mark.slow
def test_it_is_the_teachers_own_word_and_asked_once(
    taught: Train,
    data: Path,
    frozen_teacher: dict[str, Any],
    tmp_path: Path,
    asked: list[int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "solo_rekd")
    first = taught("seed", max_epochs=2)
    assert sum(asked) == 48
    (path,) = (tmp_path / "kept").iterdir()
    assert f"embeddings of the whole image kept in {path}" in caplog.text

    loaded = load_networks(frozen_teacher["teacher_checkpoint"], "resnet18", img_size=32)
    files = [file for file, _ in ImageFolder(str(data / "train")).samples]
    images = [transforms.to_tensor(Image.open(file).convert("RGB")) for file in files]
    with torch.no_grad():
        features = loaded.backbone.eval()((torch.stack(images) - 0.5) / 0.5)
        embeddings = normalize(loaded.projector.eval()(features), dim=1)
    kept = load_file(path)
    torch.testing.assert_close(kept["features"].float(), features, rtol=2e-3, atol=1e-3)
    torch.testing.assert_close(kept["embeddings"].float(), embeddings, rtol=2e-3, atol=1e-3)

    second = taught("seed", max_epochs=2)
    assert sum(asked) == 48  # no forward at all
    torch.testing.assert_close(state(second), state(first), rtol=0, atol=0)
    assert not [name for name in state(first) if "taught" in name]


@pytest.mark.slow
@pytest.mark.parametrize("dali", [None, True], ids=["torchvision", "dali"])
@pytest.mark.parametrize(
    "folder",
    [{}, {"train_dir": "flat", "val_dir": None, "no_labels": True}],
    ids=["classes", "flat"],
)
def test_every_image_has_its_own(
    dali: bool | None, folder: dict[str, Any], taught: Train, likeness: list[float]
) -> None:
    if dali:
        pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed: solo-rekd[dali]")
    taught("disco", **PLAIN, **folder, dali=dali)
    assert len(likeness) == 6
    assert min(likeness) > 1 - 1e-5


@pytest.mark.slow
def test_a_resumed_run_is_as_one_that_did_not_stop(taught: Train, asked: list[int]) -> None:
    # nothing that depends on the length
    steady = PLAIN | {"base_tau_momentum": 0.99, "final_tau_momentum": 0.99}
    whole = taught("compress", **steady, max_epochs=3)
    first = taught("compress", **steady)
    resume = {"max_epochs": 3, "resume_from_checkpoint": first["checkpoint"]}
    resumed = taught("compress", **steady, **resume)
    assert sum(asked) == 48
    torch.testing.assert_close(state(resumed), state(whole), rtol=0, atol=0)


@pytest.mark.slow
def test_several_views_are_the_same_with_and_without_workers(
    taught: Train, tmp_path: Path, asked: list[int]
) -> None:
    short = {"relation_view": "views", "limit_train_batches": 2}
    taught("rekd", teacher_image_views=3, **short)
    assert sum(asked) == 3 * 48
    taught("rekd", teacher_image_views=3, **short, num_workers=2)
    assert sum(asked) == 3 * 48
    (path,) = (tmp_path / "kept").iterdir()
    kept = load_file(path)
    path.unlink()
    taught("rekd", teacher_image_views=3, **short, num_workers=2)
    torch.testing.assert_close(load_file(path), kept, rtol=0, atol=1e-3)
    taught("rekd", teacher_image_views=0, **short)
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_views_are_the_seeds_and_leave_the_trainings_draws_alone() -> None:
    class Drawn:
        """A data set whose crops are draws."""

        def __len__(self) -> int:
            return 3

        def __getitem__(self, place: int) -> Any:
            draws = [torch.rand(2), torch.tensor([random.random(), np.random.rand()])]
            return place, draws, 7

    torch.manual_seed(1)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    views = SeededViews(Drawn(), views=3, seed=0)
    place, found, label = views[1]
    assert (place, label, found.shape, len(views)) == (1, 7, (3, 2), 3)
    assert len({tuple(view.tolist()) for view in found}) == 3
    assert torch.equal(views[1][1], found)
    assert not torch.equal(views[2][1], found)
    assert not torch.equal(SeededViews(Drawn(), 3, seed=1)[1][1], found)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    assert torch.equal(before[0], after[0]) and before[1:] == after[1:]


def test_an_online_teacher_is_refused(taught: Train, host: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^teacher_view='image' needs teacher_mode=frozen"):
        taught("disco", teacher_mode="online")
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize(("changes", "same"), [({}, True), ({"teacher_view": "image"}, False)])
def test_a_run_of_an_older_version_saw_the_views(
    changes: dict[str, Any],
    same: bool,
    host: ModuleType,
    flags: Callable[..., list[str]],
    frozen_teacher: dict[str, Any],
) -> None:
    from solo_rekd.hosts.classic.run import RULE

    now = vars(host.parse_pretrain(flags("pretrain", method="disco", **frozen_teacher | changes)))
    new = ("teacher_view", "teacher_image_views", "teacher_cache")
    older = {name: value for name, value in now.items() if name not in new} | {"bag_cache": "x"}
    assert (differences(older, now, RULE) == {}) is same
