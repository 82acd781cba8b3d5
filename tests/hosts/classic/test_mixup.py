"""Mixed images in the classic host: student, momentum twin and teacher see the same ones."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch

from solo_rekd.objectives.distillation import DistillationObjective
from solo_rekd.teachers import FrozenTeacher
from solo_rekd.utils.errors import UserError

Train = Callable[..., dict[str, Any]]


class Seen:
    """What each part of a run sees, step by step."""

    def __init__(self, host: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        self.loaded: list[Any] = []
        self.batches: list[Any] = []
        self.student: list[torch.Tensor] = []
        self.twin: list[torch.Tensor] = []
        self.teacher: list[torch.Tensor] = []
        method, seen = host.METHODS["disco"], self
        step, forward, teach = method.training_step, DistillationObjective.teach, FrozenTeacher

        def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
            for name, kept in (("encoder", seen.student), ("momentum_encoder", seen.twin)):
                if not seen.loaded:
                    hook = _keep(kept)
                    getattr(self, name).register_forward_pre_hook(hook)
            seen.loaded.append([batch[0], [view.clone() for view in batch[1]], batch[2]])
            return step(self, batch, batch_idx)

        def keep_batch(self: Any, batch: Any) -> Any:
            seen.batches.append(batch)
            return forward(self, batch)

        views = teach.views

        def keep_views(self: Any, images: list[torch.Tensor]) -> Any:
            seen.teacher += [view.clone() for view in images]
            return views(self, images)

        monkeypatch.setattr(method, "training_step", training_step)
        monkeypatch.setattr(DistillationObjective, "teach", keep_batch)
        monkeypatch.setattr(FrozenTeacher, "views", keep_views)


def _keep(kept: list[torch.Tensor]) -> Callable[..., None]:
    return lambda module, images: kept.append(images[0].clone())


def test_all_networks_see_the_same_mixed_images(
    host: ModuleType,
    train: Train,
    frozen_teacher: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = Seen(host, monkeypatch)
    train("disco", **frozen_teacher, mixup=1, limit_val_batches=0)
    assert len(seen.batches) == 6
    shares, pairings = set(), set()
    for step, ((_, views, labels), batch) in enumerate(zip(seen.loaded, seen.batches, strict=True)):
        share, partners = batch.mixed
        shares.add(share)
        pairings.add(tuple(partners.tolist()))
        assert torch.equal(batch.labels, labels)
        for view in range(2):
            mixed = torch.stack(
                [
                    share * views[view][row] + (1 - share) * views[view][partner]
                    for row, partner in enumerate(partners.tolist())
                ]
            )
            place = 2 * step + view
            for seen_by in (seen.student, seen.twin, seen.teacher):
                torch.testing.assert_close(seen_by[place], mixed, rtol=0, atol=1e-6)
    assert len(shares) == len(pairings) == 6


def state(run: dict[str, Any]) -> dict[str, torch.Tensor]:
    return torch.load(run["checkpoint"], weights_only=True)["state_dict"]


@pytest.mark.slow
def test_a_resumed_run_mixes_as_one_that_did_not_stop(
    train: Train, frozen_teacher: dict[str, Any]
) -> None:
    steady = {
        **frozen_teacher,
        **dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0),
        **dict.fromkeys(("gray_scale_prob", "horizontal_flip_prob", "limit_val_batches"), 0),
        **{"min_scale": 1, "mixup": 0.5},
    }
    whole = train("seed", **steady, max_epochs=3)
    first = train("seed", **steady)
    resume = {"max_epochs": 3, "resume_from_checkpoint": first["checkpoint"]}
    resumed = train("seed", **steady, **resume)
    torch.testing.assert_close(state(resumed), state(whole), rtol=0, atol=0)
    other = train("seed", **steady, max_epochs=3, seed=6)
    assert not torch.equal(state(other)["classifier.weight"], state(whole)["classifier.weight"])


def test_an_online_teacher_is_refused(train: Train) -> None:
    with pytest.raises(UserError, match=r"^mixup=1.0 is not .* 0 with teacher_mode=online"):
        train("seed", mixup=1)
