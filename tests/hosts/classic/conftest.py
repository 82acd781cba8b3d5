"""What the tests of the classic host share."""

from typing import Any

import pytest
import torch

from solo_rekd.teachers import FrozenTeacher


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batches that the teacher has seen."""
    calls: list[int] = []
    forward = FrozenTeacher.forward

    def count(self: Any, images: torch.Tensor) -> Any:
        calls.append(len(images))
        return forward(self, images)

    monkeypatch.setattr(FrozenTeacher, "forward", count)
    return calls
