import html
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sealed_page import HOSTILE, check_sealed

from solo_rekd.distilling.choices import Choice
from solo_rekd.distilling.neighbours import nearest
from solo_rekd.distilling.report.page import draw_curves, render
from solo_rekd.distilling.report.thumbnails import apart, spread

CARD: dict[str, Any] = {
    "student": {"name": "alexnet", "features": 256, "start": "random weights"},
    "teacher": {"name": "resnet50", "file": "<b>.pth", "sha256": "aa", "line": "torchvision"},
    "photos": {"training": 1000, "held_out": 6, "left_out": {"hidden": 2}},
    "choices": [Choice("lr", 0.1, "given")],
    "epochs": 2,
    "figures": {"agreement of student": 0.5},
    "findings": ["The student has collapsed."],
    "training": {},
    "settings": {},
    "versions": {},
    "command": "solo-rekd distil",
    "neighbours": 1,
}
UNTRAINED = {"epoch": -1, "seconds": 1.0, "images": 0, "agreement": 0.1, "effective_rank": 3.0}
LINE = UNTRAINED | {"epoch": 0, "images": 80, "waiting": 0.2, "loss": 2.0, "loss_floor": 1.0}


def test_a_page_loads_nothing_and_shows_what_there_is(photos: Path) -> None:
    paths = [str(path) for path in sorted(photos.glob("*.PNG"))[:6]]
    features = torch.randn(6, 4)
    near = {name: nearest(torch.randn(6, 4)) for name in ("teacher", "student", "untrained")}
    page = render(CARD, [UNTRAINED, LINE], paths, features, near)
    for text in ("The student has collapsed.", "0.500", "2 hidden", "&lt;b&gt;.pth", "<svg"):
        assert text in page
    check_sealed(page)
    assert page.count('alt="a held-out photo"') == 6
    assert page.count('<image href="data:image/jpeg;base64,') >= 1


def test_a_page_of_hostile_names_is_sealed(photos: Path) -> None:
    evil = HOSTILE
    path = photos / f"{evil.replace('/', '')}.png"
    next(photos.glob("*.PNG")).rename(path)
    card = CARD | {
        "student": {"name": evil, "features": 256, "start": evil},
        "teacher": {"name": evil, "file": evil, "sha256": evil, "line": evil},
        "choices": [Choice(evil, evil, evil)],
        "figures": {evil: 0.5},
        **{key: {evil: evil} for key in ("training", "settings", "versions")},
        "findings": [evil],
        "command": evil,
    }
    near = {name: nearest(torch.randn(4, 4)) for name in ("teacher", evil)}
    page = render(card, [UNTRAINED, LINE], [str(path)] * 4, torch.randn(4, 4), near)
    check_sealed(page)
    assert html.unescape(page).count(evil) >= 20


def test_a_page_of_one_photo_and_no_history(photos: Path) -> None:
    path = str(next(photos.glob("*.PNG")))
    page = render(CARD | {"findings": [], "figures": {}}, [], [path], torch.randn(1, 4), {})
    assert "Nearest photos" not in page and "alexnet" in page


@pytest.mark.parametrize(
    ("lines", "captions"),
    [([], 0), ([UNTRAINED, LINE], 4), ([{"epoch": 0, "waiting": 0.1, "train_nce_loss": 1.0}], 2)],
)
def test_curves_are_of_what_the_history_has(lines: list[Any], captions: int) -> None:
    assert len(draw_curves(lines)) == captions


def test_pictures_on_the_map_do_not_cover_each_other() -> None:
    points = np.array([[0, 0], [0.05, 0.05], [0.5, 0.5], [0.5, 0.9], [0.52, 0.52]])
    assert apart(points, 0.1, 9) == [0, 2, 3]
    assert apart(points, 0.1, 2) == [0, 2]


@pytest.mark.parametrize(("number", "most", "places"), [(3, 5, [0, 1, 2]), (10, 2, [0, 9])])
def test_places_are_spread(number: int, most: int, places: list[int]) -> None:
    assert spread(number, most) == places
