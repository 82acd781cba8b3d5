"""The charts, as SVG elements to embed in a page.

A chart's unit is one CSS pixel where the page shows it 360 pixels wide, as on a phone.
"""

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from solo_rekd.compare.report.maps import Plane
from solo_rekd.compare.report.summary import Arm, Spread

WIDTH = 360
INK, FAINT = "#1f2933", "#dde3ea"
# Okabe and Ito's colours, without the yellow that vanishes on white, then three of Tol's
ARM_COLOURS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"),
    *("#332288", "#882255", "#999933", "#555555"),
)
# Tol's "muted" and black
CLASS_COLOURS = (
    *("#332288", "#88ccee", "#44aa99", "#117733", "#999933", "#ddcc77"),
    *("#cc6677", "#882255", "#aa4499", "#000000"),
)
OTHER_CLASSES = "#c9ced6"
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
STYLE: Any = {
    "font.size": 11,
    "text.color": INK,
    "axes.edgecolor": "#8793a1",
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "hatch.linewidth": 1.2,
}


def colour(number: int) -> str:
    """Returns the colour of an arm by its index."""
    return ARM_COLOURS[number % len(ARM_COLOURS)]


def canvas(height: float, margins: Sequence[float], width: float = WIDTH) -> tuple[Figure, Axes]:
    """Makes a chart of `width` x `height` with (left, right, top, bottom) margins, in units."""
    left, right, top, bottom = margins
    figure = Figure(figsize=(width / 72, height / 72))
    inside = (width - left - right, height - top - bottom)
    box = (left / width, bottom / height, inside[0] / width, inside[1] / height)
    return figure, figure.add_axes(box)


def to_svg(figure: Figure, name: str, label: str) -> str:
    """Writes a chart as an SVG element that any page can hold.

    Args:
        figure: the chart.
        name: unique in the page; every id begins with it.
        label: text alternative of the chart.

    Returns:
        The element, as wide as its container.
    """
    buffer = io.BytesIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", transparent=True, dpi=200, metadata=nothing)
    root = ElementTree.fromstring(buffer.getvalue())
    for element in root.iter():
        for key, value in list(element.attrib.items()):
            if key == "id":
                element.set("id", f"{name}-{value}")
            elif key == f"{{{XLINK}}}href":
                del element.attrib[key]
                element.set("href", re.sub("^#", f"#{name}-", value))
            else:
                element.set(key, value.replace("url(#", f"url(#{name}-"))
    for key in ("width", "height"):
        del root.attrib[key]
    root.attrib |= {"role": "img", "aria-label": label}
    ElementTree.register_namespace("", SVG)
    return ElementTree.tostring(root, encoding="unicode")


def bars(
    arms: Sequence[Arm], path: str, name: str, label: str, teacher: float | None
) -> str | None:
    """Draws a bar per arm from zero with its sd, a dot per seed, and the teacher as a dashed line.

    Args:
        arms: all arms of the comparison.
        path: path of the figure, in percent.
        name: beginning of the ids.
        label: text alternative of the chart.
        teacher: the teacher's figure, if there is one.

    Returns:
        The chart; None where no arm has the figure.
    """
    shown = [(i, arm, found) for i, arm in enumerate(arms) if (found := arm.spread(path))]
    if not shown:
        return None
    titles = [wrap_at_plus(arm.name) for _, arm, _ in shown]
    best = max((found.mean for _, arm, found in shown if arm.competes), default=None)
    reached = [value for _, _, found in shown for value in found.values]
    with rc_context(STYLE):
        height = sum(14 * len(title) + 34 for title in titles)
        figure, axes = canvas(height + 46, (8, 92, 20, 26))
        axes.set(xlim=(0, 1.05 * max(1, *reached, teacher or 0)), ylim=(height, 0), yticks=[])
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        across, edge = axes.get_yaxis_transform(), (WIDTH - 16) / (WIDTH - 100)
        y = 0.0
        for (number, arm, found), title in zip(shown, titles, strict=True):
            for line in title:
                y += 14
                behind = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
                axes.text(0, y, line, transform=across, parse_math=False, bbox=behind)
            weight = "bold" if found.mean == best else "normal"
            axes.text(edge, y + 15, found.text(), transform=across, ha="right", weight=weight)
            face = {"color": colour(number)} if arm.distils else hollow(number)
            axes.barh(y + 11, found.mean, height=12, **face)
            axes.plot(found.values, [y + 22] * len(found.values), "o", ms=4, color=INK, alpha=0.55)
            if found.sd is not None:
                axes.errorbar(found.mean, y + 11, xerr=found.sd, color=INK, capsize=4, lw=1.5)
            y += 34
        if teacher is not None:
            axes.axvline(teacher, color=INK, ls=(0, (4, 3)), lw=1.2, zorder=1)
            side = "right" if teacher > axes.get_xlim()[1] / 2 else "left"
            axes.text(teacher, -6, f"teacher {teacher:.2f}", ha=side)
    return to_svg(figure, name, label)


def wrap_at_plus(arm: str) -> list[str]:
    """Breaks the name of an arm into lines, between its settings if possible."""
    return [line.replace(" +", "+") for line in textwrap.wrap(arm.replace("+", " +"), 48)]


def hollow(number: int) -> dict[str, Any]:
    """Returns the style of an arm's bar that does not distil: hatched."""
    return {"facecolor": "white", "edgecolor": colour(number), "hatch": "////", "linewidth": 1.5}


def costs(
    points: Mapping[int, tuple[Arm, Spread, Spread]], name: str, unit: str, accuracy: str
) -> str:
    """Draws accuracy over pretraining time: each arm's means with their sd, and a dot per seed.

    Args:
        points: by index of the arm: the arm, its time, its top-1 in percent.
        name: beginning of the ids.
        unit: unit of the times.
        accuracy: name of the accuracy.
    """
    with rc_context(STYLE):
        figure, axes = canvas(max(290, 46 * len(points)), (46, 14, 24, 42))
        for number, (arm, time, score) in points.items():
            shown = colour(number)
            marker = {"marker": "o"} if arm.distils else {"marker": "s", "mfc": "white", "mew": 2}
            if len(time.values) == len(score.values) > 1:
                axes.plot(time.values, score.values, "o", ms=4, color=shown, alpha=0.45, mew=0)
            axes.errorbar(
                *(time.mean, score.mean, score.sd, time.sd), color=shown, ms=9, lw=1.5, **marker
            )
        axes.set_xlabel(f"pretraining, {unit}")
        axes.set_title(f"{accuracy}, %", loc="left", fontsize=11)
        axes.margins(0.12)
        axes.set_xlim(left=0)
    label = f"{accuracy} over the time of pretraining, one point per arm."
    return to_svg(figure, name, label)


def curves(found: Mapping[int, tuple[Arm, Mapping[int, Spread]]], name: str, label: str) -> str:
    """Draws a metric over epochs: the mean over seeds, and a band from lowest to highest.

    Args:
        found: by index of the arm: the arm, and the metric by epoch.
        name: beginning of the ids.
        label: text alternative of the chart.
    """
    with rc_context(STYLE):
        figure, axes = canvas(230, (46, 10, 10, 40))
        for number, (arm, values) in found.items():
            epochs, all_seeds = list(values), [each.values for each in values.values()]
            look: dict[str, Any] = {"color": colour(number), "ls": "-" if arm.distils else "--"}
            axes.plot(epochs, [each.mean for each in values.values()], lw=2, **look)
            low, high = map(min, all_seeds), map(max, all_seeds)
            axes.fill_between(epochs, [*low], [*high], color=colour(number), alpha=0.15, lw=0)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        axes.margins(x=0.02)
    return to_svg(figure, name, label)


def scatter(plane: Plane, name: str) -> str:
    """Draws a map of embeddings: a point per image, coloured by class, grey past ten classes."""
    figure, axes = canvas(200, (1, 1, 1, 1), width=200)
    axes.set_axis_off()
    axes.set_aspect("equal", adjustable="datalim")
    known = plane.labels < len(CLASS_COLOURS)
    area = min(25.0, max(5.0, 4000 / len(known)))
    for chosen, size in ((~known, 3), (known, area if known.all() else 12)):
        shown = [
            CLASS_COLOURS[i] if i < len(CLASS_COLOURS) else OTHER_CLASSES
            for i in plane.labels[chosen]
        ]
        x, y = plane.points[chosen].T
        axes.scatter(x, y, c=shown, s=size, lw=0, rasterized=True)
    return to_svg(figure, name, f"Map of the embeddings of {plane.arm.name}.")
