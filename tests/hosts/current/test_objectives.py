"""Every objective trains on the current host's unmodified scripts, and evaluation follows."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

pytest.importorskip("solo.data", reason="no checkout of solo-learn's main branch: SOLO_LEARN_HOME")

from solo_rekd.backbones import build_backbone
from solo_rekd.objectives import OBJECTIVES

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A frozen teacher's checkpoint in the host's format, with a projector of 8 dimensions."""
    torch.manual_seed(0)
    backbone = build_backbone("resnet18", 32)
    state = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    state |= {"projector.0.weight": torch.randn(16, 512) / 22, "projector.0.bias": torch.zeros(16)}
    state |= {"projector.2.weight": torch.randn(8, 16) / 4, "projector.2.bias": torch.zeros(8)}
    state |= {"classifier.weight": torch.zeros(3, 512), "classifier.bias": torch.zeros(3)}
    path = tmp_path_factory.mktemp("teacher") / "last.ckpt"
    torch.save({"state_dict": state}, path)
    return path


# whose batches are not the host's, and whose loss takes gradients; the others are trials
TRIED_ALWAYS = ("coss", "crcd")


@pytest.mark.parametrize(
    "method",
    [
        pytest.param(name, marks=[pytest.mark.trial] * (name not in TRIED_ALWAYS))
        for name in OBJECTIVES
        if name != "rekd"
    ],
)
def test_two_epochs_and_linear_evaluation(
    method: str,
    teacher: Path,
    run_script: Callable[..., str],
    arguments: Callable[..., list[str]],
    tmp_path: Path,
) -> None:
    kwargs = {"teacher": "resnet18", "teacher_mode": "frozen", "teacher_checkpoint": teacher}
    changes = {f"method_kwargs.{name}": value for name, value in kwargs.items()}
    run_script("main_pretrain.py", *arguments(method, max_epochs=2, **changes))
    (checkpoint,) = tmp_path.glob(f"trained_models/{method}/*/*.ckpt")
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert all(tensor.isfinite().all() for tensor in state.values())
    weights = {"pretrained_feature_extractor": f"'{checkpoint}'"}
    assert "linear top-1" in run_script("main_linear.py", *arguments("linear", **weights))
