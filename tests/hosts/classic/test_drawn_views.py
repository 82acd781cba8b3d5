"""Views that are drawn once, in the classic host's own loader."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from solo_rekd.utils.errors import UserError

# two views that are the image itself
PLAIN = {
    **{"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, "min_scale": 1},
    **{"gray_scale_prob": 0, "horizontal_flip_prob": 0},
}
MEAN = STD = 0.5
Watch = Callable[..., list[tuple[torch.Tensor, torch.Tensor]]]


@pytest.fixture
def watch(
    train: Callable[..., dict[str, Any]],
    frozen_teacher: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Watch:
    """Trains, and returns the places and the views (2, B, 3, H, W) of every batch."""
    from solo_rekd.hosts.shared.method import Distilled

    def run(method: str = "seed", **changes: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
        seen: list[tuple[torch.Tensor, torch.Tensor]] = []
        step = Distilled.training_step

        def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
            seen.append((batch[0], torch.stack(batch[1])))
            return step(self, batch, batch_idx)

        with monkeypatch.context() as patch:
            patch.setattr(Distilled, "training_step", training_step)
            settings = {"drawn_views": 4, "teacher_cache": tmp_path / "kept"}
            train(method, **frozen_teacher | settings | {"limit_val_batches": 0} | changes)
        return seen

    return run


def pixels(folder: Path) -> torch.Tensor:
    """The drawn views, normalised."""
    (kept,) = (file for file in map(load_file, folder.iterdir()) if "pixels" in file)
    return (kept["pixels"].float().div(255) - MEAN) / STD


def assert_views(seen: Any, drawn: torch.Tensor, epochs: list[int]) -> None:
    """Checks that each epoch of six batches has its own two views."""
    assert len(seen) == 6 * len(epochs)
    for step, (places, views) in enumerate(seen):
        first = 2 * epochs[step // 6] % 4
        for view in range(2):
            torch.testing.assert_close(views[view], drawn[places, first + view])


def test_epochs_take_the_next_views_and_the_teacher_runs_once(
    watch: Watch, asked: list[int], tmp_path: Path
) -> None:
    seen = watch(max_epochs=3)
    assert sum(asked) == 4 * 48
    drawn = pixels(tmp_path / "kept")
    assert_views(seen, drawn, [0, 1, 2])
    assert len({tuple(view.flatten().tolist()) for view in drawn[0]}) == 4
    rest = watch("disco", seed=3)
    assert sum(asked) == 4 * 48  # not once
    assert_views(rest, drawn, [0])
    assert not torch.equal(rest[0][0], seen[0][0])


@pytest.mark.slow
def test_a_resumed_run_has_its_own_epochs_views_with_workers_too(
    watch: Watch, tmp_path: Path
) -> None:
    kept = {"save_checkpoint": True, "checkpoint_dir": tmp_path / "runs", "num_workers": 2}
    watch(**kept)
    (checkpoint,) = tmp_path.glob("runs/*/*/*.ckpt")
    rest = watch(max_epochs=3, resume_from_checkpoint=checkpoint, num_workers=2)
    assert_views(rest, pixels(tmp_path / "kept"), [1, 2])


@pytest.mark.slow
@pytest.mark.parametrize("method", ["seed", "rekd", "coss", "bingo"])
def test_it_is_the_run_whose_teacher_sees_these_views(
    method: str,
    train: Callable[..., dict[str, Any]],
    frozen_teacher: dict[str, Any],
    tmp_path: Path,
) -> None:
    own = {"neighbours": 3, "neighbour_pool": 7} if method == "coss" else {}
    own |= {"bag_size": 3} if method == "bingo" else {}
    settings = frozen_teacher | PLAIN | own | {"teacher_cache": tmp_path, "limit_val_batches": 0}
    states = []
    for views in (0, 2):
        run = train(method, drawn_views=views, num_workers=1, **settings)
        states.append(torch.load(run["checkpoint"], weights_only=True)["state_dict"])
    without, drawn = ({k: v for k, v in s.items() if v.is_floating_point()} for s in states)
    assert without.keys() == drawn.keys()
    torch.testing.assert_close(drawn, without, rtol=1e-2, atol=2e-2)


def test_dali_is_refused(
    host: ModuleType, flags: Callable[..., list[str]], frozen_teacher: dict[str, Any]
) -> None:
    changes = frozen_teacher | {"drawn_views": 4, "dali": True}
    with pytest.raises(UserError, match=r"^drawn_views=4 .* expected 0 with DALI"):
        host.parse_pretrain(flags("pretrain", method="seed", **changes))
