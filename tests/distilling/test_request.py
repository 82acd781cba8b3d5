from typing import Any

import pytest

from solo_rekd.utils.errors import UserError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"photos": ()}, "no photos"),
        ({"epochs": 2, "hours": 1}, "epochs or hours"),
        ({"method": "simclr"}, "^method='simclr'.*rekd"),
        ({"device": "tpu"}, "^device='tpu'.*cpu, gpu"),
        ({"precision": "8"}, "^precision='8'"),
        ({"memory_format": "x"}, "^memory_format='x'"),
        ({"hours": 0}, "^hours=0"),
        ({"epochs": 0}, "^epochs=0"),
        ({"workers": -1}, "^workers=-1"),
        ({"batch_size": 0}, "^batch_size=0"),
        ({"lr": -1}, "^lr=-1"),
        ({"crop_size": 0}, "^crop_size=0"),
        ({"drawn_views": -2}, "^drawn_views=-2"),
        ({"teacher_checkpoint": "nowhere.pth"}, "^teacher_checkpoint='nowhere.pth'"),
        ({"against": "nowhere.pth"}, "^against='nowhere.pth'"),
        ({"epoch": 3}, "^epoch=3.*expected an option of distil: epochs"),
    ],
)
def test_what_cannot_be_is_refused(asked: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        asked(**changes)


def test_what_decides_a_run(asked: Any) -> None:
    first = asked(settings={"relation_temperature": 0.05})
    assert first.decisive == asked(settings={"relation_temperature": "0.05"}).decisive
    for changes in ({"workers": 2}, {"int8": True}, {"device": "cpu"}, {"out": "elsewhere"}):
        assert asked(**changes).decisive == asked().decisive
    for changes in ({"seed": 6}, {"batch_size": 4}, {"host_words": ("--x", "1")}, {"hours": 2.0}):
        assert asked(**changes).decisive != asked().decisive
