import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from sealed_page import check_sealed
from synthetic_comparison import ARMS, make_comparison

from solo_rekd.compare.report.page import render
from solo_rekd.compare.report.summary import MISSING

LONG = "rekd+teacher_mode=online+dictionary=teacher+own_weight=0.8"
SVG = "{http://www.w3.org/2000/svg}"


class Page(HTMLParser):
    """What a page says, and how it is built."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        self.said = " ".join("".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.open.append(tag)
        if tag in ("meta", "br", "wbr"):
            self.open.pop()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag in ("td", "th"):
            self.words.append(" ")

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def charts(text: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall("<svg.*?</svg>", text, re.DOTALL)]


@pytest.fixture
def page(tmp_path: Path) -> Callable[..., str]:
    """Renders a synthetic comparison, changed by a function if one is given."""

    def build(change: Callable[[dict[str, Any]], object] = len, **settings: Any) -> str:
        comparison = make_comparison(tmp_path, **settings)
        change(comparison)
        return render(comparison, tmp_path)

    return build


def test_a_page_has_its_charts_and_all_arms(page: Callable[..., str]) -> None:
    text = page()
    found = Page(text)
    assert found.open == []
    # two bars, one of costs, three curves (nobody has val_acc1), a map an arm
    assert len(charts(text)) == 6 + len(ARMS)
    assert [tag for tag, _ in found.tags].count("figure") == len(charts(text))
    assert [tag for tag, _ in found.tags].count("figcaption") == len(charts(text))
    for arm in ARMS:
        assert f"{arm} 3 of 3" in found.said
    assert "validation images: top-1" not in text
    assert "Runs without a result" not in text


def test_a_page_loads_nothing(page: Callable[..., str]) -> None:
    text = page()
    assert re.findall(r"https?://[^\"]*", text) == ["http://www.w3.org/2000/svg"] * len(
        charts(text)
    )
    for tag, attributes in Page(text).tags:
        assert tag not in ("script", "link", "iframe", "img", "object")
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith(("#", "data:image/png;base64,"))
    assert "@import" not in text
    assert set(re.findall(r"url\((.)", text)) == {"#"}


def test_charts_are_named_and_every_id_is_unique_and_known(page: Callable[..., str]) -> None:
    text = page()
    ids = [attributes["id"] for _, attributes in Page(text).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for chart in charts(text):
        own = {element.get("id") for element in chart.iter()}
        assert (chart.get("role"), bool(chart.get("aria-label"))) == ("img", True)
        assert "width" not in chart.attrib
        source = ElementTree.tostring(chart, encoding="unicode")
        used = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', source)
        assert {one or other for one, other in used} <= own


def test_the_curve_of_a_metric_that_one_run_has_is_drawn(page: Callable[..., str]) -> None:
    def add(comparison: dict[str, Any]) -> None:
        for line in comparison["runs"][4]["history"]:
            line["val_acc1"] = 50.0

    text = page(add, arms=["simclr", "seed"])
    assert "Online probe on validation images" in text
    assert "Relation purity" not in text


def test_what_users_wrote_is_escaped(page: Callable[..., str]) -> None:
    evil = '<script>alert("1")</script>&'

    def spoil(comparison: dict[str, Any]) -> None:
        comparison["title"] = comparison["command"] = evil
        comparison["protocol"] = comparison["machine"] = comparison["versions"] = {evil: evil}
        comparison["failed"] = [{"arm": evil, "seed": 0, "reason": evil, "log": evil}]
        comparison["unfinished"] = [{"arm": evil, "seed": 1}]
        comparison["differences"] = [evil]
        comparison["networks"]["student"]["name"] = comparison["networks"]["latency_protocol"] = (
            evil
        )
        comparison["arms"][0]["name"] = comparison["runs"][0]["arm"] = evil
        comparison["runs"][0]["linear_host"] |= {"command": evil, "protocol": evil}
        comparison["classes"][0] = evil

    text = page(spoil, arms=["simclr"], seeds=[0])
    check_sealed(text)
    found = Page(text)
    assert found.open == []
    assert "".join(found.words).count(evil) >= 17
    assert any(evil in "".join(chart.itertext()) for chart in charts(text))
    assert any(evil in (chart.get("aria-label") or "") for chart in charts(text))


def test_dollars_in_a_name_are_no_formula(page: Callable[..., str]) -> None:
    assert "rekd+a=$x^2$" in "".join(charts(page(arms=["rekd+a=$x^2$"]))[0].itertext())


def test_a_missing_figure_is_a_dash(page: Callable[..., str]) -> None:
    reached: list[float] = []

    def lose(comparison: dict[str, Any]) -> None:
        run = comparison["runs"][0]
        reached.extend(run[name]["top1"] for name in ("few_label", "few_label_1pct"))
        run["pretrain"], run["linear_cached"] = None, {"top1": None}
        del run["knn"], run["history"]
        comparison["teacher"] = comparison["networks"]["teacher"] = None

    found = Page(page(lose, arms=["rekd"], seeds=[0]))
    row = re.search(r"rekd 1 of 1 [0-9.]+ [0-9.]+ (.*) Mean ±", found.said)
    assert row is not None
    few = [f"{value:.2f}" for value in reached]
    assert row[1].split() == [*[MISSING] * 4, *few, *[MISSING] * 3]
    assert f"parameters, millions 2.47 {MISSING} {MISSING}" in found.said


def test_without_a_run_the_page_says_so(page: Callable[..., str]) -> None:
    def empty(comparison: dict[str, Any]) -> None:
        comparison["unfinished"] = [{"arm": "rekd", "seed": 0}, {"arm": "rekd", "seed": 1}]
        comparison |= {"runs": [], "teacher": None}

    text = page(empty, arms=["rekd"], seeds=[0, 1])
    found = Page(text)
    assert charts(text) == []
    assert (
        "No verdict yet: no run has a linear top-1 on cached features. 0 of 2 runs have finished."
        in found.said
    )
    assert "2 not finished rekd seed 0, rekd seed 1" in found.said


def test_failed_runs_are_told_with_their_reason(page: Callable[..., str]) -> None:
    def fail(comparison: dict[str, Any]) -> None:
        del comparison["runs"][1]
        comparison["failed"] = [
            {"arm": "rekd", "seed": 1, "reason": "out of memory", "log": "runs/rekd/seed-1/log.txt"}
        ]

    found = Page(page(fail, arms=["rekd"], seeds=[0, 1]))
    assert "1 failed rekd, seed 1: out of memory (runs/rekd/seed-1/log.txt)" in found.said
    assert "rekd 1 of 2" in found.said


def test_one_arm_and_one_seed_and_one_epoch(page: Callable[..., str]) -> None:
    text = page(arms=["rekd"], seeds=[0], epochs=1)
    assert len(charts(text)) == 4
    assert "Learning curves" not in text


def test_ten_arms_of_long_names_and_a_thousand_classes(page: Callable[..., str]) -> None:
    arms = [f"{LONG}{number}" for number in range(10)]
    classes = [f"class {number}" for number in range(1000)]
    text = page(arms=arms, seeds=range(5), epochs=100, classes=classes, images=2000)
    assert len(text) < 4e6
    found = Page(text)
    assert "the other 990 classes" in found.said
    assert "class 10" not in found.said
    for chart in charts(text)[:2]:
        lines = [element.text or "" for element in chart.iter(f"{SVG}text")]
        assert all(arm in "".join(lines) for arm in arms)
        assert max(map(len, lines)) <= 50


def test_commands_of_every_run_are_there(page: Callable[..., str]) -> None:
    said = Page(page(arms=["rekd"], seeds=[0, 7])).said
    for command in ("compare", "pretrain", "linear", "knn"):
        assert f"solo-rekd {command}" in said
    assert said.count("--method rekd --seed 7") == 1


def test_bounds_are_not_set_off_as_the_best(page: Callable[..., str]) -> None:
    def raise_bounds(comparison: dict[str, Any]) -> None:
        for run in comparison["runs"]:
            if run["arm"] != "rekd":
                run["knn"]["top1"] = 99.0

    arms = ["untrained", "rekd", "rekd+relation=labels"]
    text = page(raise_bounds, arms=arms, seeds=(0,))
    best = re.findall(r'class="best">([\d.]+)', text)
    assert len(best) == 5  # linear twice, kNN, and few labels twice
    assert "99.00" not in best


def test_among_bounds_alone_none_is_the_best(page: Callable[..., str]) -> None:
    assert 'class="best"' not in page(arms=["untrained"], seeds=(0,))
