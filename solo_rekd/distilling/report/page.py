"""Fills the template of the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from solo_rekd.compare.report.charts import STYLE, canvas, colour, to_svg
from solo_rekd.compare.report.policy import protect
from solo_rekd.compare.report.template import load_template
from solo_rekd.distilling.neighbours import plane
from solo_rekd.distilling.report.thumbnails import apart, spread, thumbnail
from solo_rekd.distilling.show import FLOOR, loss_of, say

QUERIES, SHOWN = 12, 5  # photos whose neighbours are shown, and neighbours per network
SIDE = 64  # px of a neighbour's picture
ON_MAP, DOT = 150, 36  # pictures on the map at most, and their side in px
WIDTH, HEIGHT, EDGE = 1000, 640, 30  # size and margin of the map, in drawing units


class Mark(NamedTuple):
    """A photo on the map: its position, and its picture or None for a dot."""

    x: float
    y: float
    picture: str | None


def render(
    card: dict[str, Any],
    history: Sequence[Mapping[str, Any]],
    paths: Sequence[str],
    features: Tensor,
    near: Mapping[str, Tensor],
) -> str:
    """Renders the page.

    Args:
        card: see `card.write_card`.
        history: one line per epoch.
        paths: paths of the held-out photos that could be read.
        features: the student's features of these photos, shape (N, f).
        near: indexes of the photos nearest to each, by name of the network, shape (N, k).

    Returns:
        An HTML page that loads nothing and runs nothing: see `protect`.
    """
    marks, explained = make_map(paths, features)
    page = load_template(Path(__file__).parent, say=say).render(
        card | {"neighbours_shown": card["neighbours"]},
        curves=draw_curves(history),
        marks=marks,
        explained=explained,
        map=(WIDTH, HEIGHT, DOT),
        neighbours=list_neighbours(paths, near),
        networks=[*near],
        history=history,
    )
    return protect(page)


def draw_curves(history: Sequence[Mapping[str, Any]]) -> list[tuple[str, Markup]]:
    """Draws loss, agreement and rank over the epochs, as far as the history has them."""
    losses = [loss[1] if (loss := loss_of(line)) else float("nan") for line in history]
    charts: list[tuple[str, dict[str, list[float]]]] = [
        ("Loss and its floor", {"loss": losses, "floor": _column(history, FLOOR)}),
        (
            "Agreement with the teacher on held-out photos",
            {
                "agreement": _column(history, "agreement"),
                "chance": _column(history, "agreement_chance"),
                "ceiling": _column(history, "agreement_ceiling"),
            },
        ),
        ("Effective rank of the features", {"rank": _column(history, "effective_rank")}),
        (
            "Share of time spent waiting for images",
            {"waiting": _column(history, "waiting")},
        ),
    ]
    epochs = [line["epoch"] + 1 for line in history]
    return [
        (caption, Markup(_draw(epochs, lines, f"curve{place}", caption)))
        for place, (caption, every) in enumerate(charts)
        if (lines := {name: found for name, found in every.items() if np.isfinite(found).any()})
    ]


def _column(history: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    return [float(line.get(name, "nan")) for line in history]


def _draw(
    epochs: Sequence[int], lines: Mapping[str, Sequence[float]], name: str, label: str
) -> str:
    with rc_context(STYLE):
        figure, axes = canvas(230, (46, 10, 10, 40))
        for number, (text, values) in enumerate(lines.items()):
            look: dict[str, Any] = {"ls": "-"} if number == 0 else {"ls": "--", "lw": 1.2}
            axes.plot(epochs, values, color=colour(number), marker="o", ms=3, label=text, **look)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.margins(x=0.02)
        if len(lines) > 1:
            axes.legend(frameon=False, fontsize=9)
    return to_svg(figure, name, f"{label}, over the epochs.")


def make_map(paths: Sequence[str], features: Tensor) -> tuple[list[Mark], float]:
    """Places the photos on a map by the student's features, some of them as pictures.

    Returns:
        The marks, and the share of the variance that the map explains, in [0, 1].
    """
    if len(paths) < 2:
        return [], float("nan")
    points, explained = plane(features)
    shown = set(apart(points, 1.1 * DOT / HEIGHT, ON_MAP))
    inside = EDGE + points * (np.array([WIDTH, HEIGHT]) - 2 * EDGE)
    marks = [
        Mark(round(float(x), 1), round(float(y), 1), _picture(paths[n], DOT, n in shown))
        for n, (x, y) in enumerate(inside)
    ]
    return sorted(marks, key=lambda mark: mark.picture is not None), explained


def _picture(path: str, side: int, shown: bool) -> str | None:
    return thumbnail(path, side) if shown else None


def list_neighbours(
    paths: Sequence[str], near: Mapping[str, Tensor]
) -> list[tuple[str, dict[str, list[tuple[str, bool]]]]]:
    """Lists some photos, each with its nearest photos by every network.

    Returns:
        For each photo its picture, and by name of the network the pictures of its nearest photos,
        each with whether it is also among the teacher's nearest.
    """
    if not near:
        return []
    known: dict[int, str] = {}

    def picture(place: int) -> str:
        if place not in known:
            known[place] = thumbnail(paths[place], SIDE)
        return known[place]

    found = []
    for query in spread(len(paths), QUERIES):
        teachers = set(near["teacher"][query].tolist())
        rows = {
            name: [(picture(n), n in teachers) for n in places[query, :SHOWN].tolist()]
            for name, places in near.items()
        }
        found.append((picture(query), rows))
    return found
