"""Mixed images in the current host: the networks see them, and the classifiers both labels."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

from torch.nn.functional import cross_entropy
from waits import NoWaits

from solo_rekd.backbones import build_backbone


@pytest.fixture
def mixing(pretraining: Callable[..., Any], tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Builds a method with a frozen teacher and mixed images."""
    torch.manual_seed(0)
    teacher = build_backbone("alexnet", 32)
    torch.save({"model": teacher.state_dict()}, tmp_path / "teacher.pth")

    def build(recipe: str) -> Any:
        settings = {
            "teacher": "alexnet",
            "teacher_mode": "frozen",
            "teacher_stem": "small",
            "teacher_checkpoint": tmp_path / "teacher.pth",
            "proj_output_dim": teacher.num_features,
            "mixup": 1,
        }
        changes = {f"method_kwargs.{name}": value for name, value in settings.items()}
        method = pretraining(recipe, **changes, **{"knn_eval.enabled": False}).train()
        method.log = method.log_dict = lambda *args, **kwargs: None
        return method

    yield build


def make_batch(labels: torch.Tensor) -> list[Any]:
    return [torch.arange(8), [torch.randn(8, 3, 32, 32) for _ in range(2)], labels]


def test_a_step_is_of_mixed_images(mixing: Callable[..., Any]) -> None:
    method, labels = mixing("seed"), torch.arange(8) % 3
    batch, seen, found = make_batch(labels), [], []
    method.backbone.register_forward_pre_hook(lambda module, images: seen.append(images[0]))
    logits: list[torch.Tensor] = []
    method.classifier.register_forward_hook(lambda module, given, out: logits.append(out))
    method.objective.register_forward_pre_hook(lambda module, given: found.append(given[0]))
    method.objective.register_forward_hook(lambda module, given, out: found.append(out[0]))
    loss = method.training_step(batch, 0)
    of_objective, distilled = found
    share, partners = of_objective.mixed
    expected = distilled
    for view in range(2):
        mixed = share * batch[1][view] + (1 - share) * batch[1][view][partners]
        torch.testing.assert_close(seen[view], mixed)
        torch.testing.assert_close(of_objective.images[view], mixed)
        own, other = (cross_entropy(logits[view], each) for each in (labels, labels[partners]))
        expected = expected + (share * own + (1 - share) * other) / 2
    torch.testing.assert_close(loss, expected)


def test_steps_are_mixed_by_seed_epoch_process_and_step(mixing: Callable[..., Any]) -> None:
    method = mixing("seed")

    def draw(step: int, seed: int = 3) -> Any:
        torch.manual_seed(seed)
        torch.rand(step)  # what else is drawn does not matter
        return method._draw_mix(8, step, torch.device("cpu"))

    assert draw(1).share == draw(1).share
    assert len({draw(0).share, draw(1).share, draw(1, seed=4).share}) == 3


@pytest.mark.parametrize("recipe", ["seed", "disco"])
def test_no_step_waits_for_the_device(recipe: str, mixing: Callable[..., Any]) -> None:
    method = mixing(recipe)
    for number in range(4):
        batch = make_batch(torch.arange(8) % 3)
        with NoWaits() if number == 3 else nullcontext():
            method.training_step(batch, number).backward()


def test_validation_sees_the_images_as_they_are(mixing: Callable[..., Any]) -> None:
    method, seen = mixing("seed").eval(), []
    method.backbone.register_forward_pre_hook(lambda module, images: seen.append(images[0]))
    images = torch.randn(8, 3, 32, 32)
    with torch.no_grad():
        method.validation_step([images, torch.arange(8) % 3], 0)
    assert torch.equal(seen[0], images)
