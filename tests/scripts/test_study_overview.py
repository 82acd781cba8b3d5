"""The short tables and figures: from the results, from the earlier record until there are any."""

import json
import shutil
from pathlib import Path

import pytest
from study import overview, rows
from study_rows import make_row

from solo_rekd.objectives import OBJECTIVES

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = (overview.CHOICE, overview.EARLIER, overview.PUBLISHED, overview.PERFORMANCE)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name in PAGES:
        shutil.copy(DOCS / name, folder / name)
    shutil.copy(ROOT / overview.README, tmp_path)
    (folder / "results").mkdir()
    shutil.copy(DOCS / "results" / "search.csv", folder / "results")
    return folder


def test_every_method_has_a_line() -> None:
    assert set(OBJECTIVES) < set(overview.CHOICES)


def test_without_results_the_figures_are_of_the_earlier_record(docs: Path) -> None:
    found = overview.read_figures(docs / "results", docs)
    assert found.is_earlier
    assert found.by_student["alexnet"]["untrained"] == (38.99, 37.34)
    assert found.by_student["alexnet"]["rekd"] == (52.24, 48.11)  # `$T` there
    assert found.by_student["alexnet"]["teacher"] == (63.22, 56.64)
    assert found.by_student["efficientnet_b0"]["mocov2plus"] == (
        24.96,
        25.05,
    )  # `mocov2plus+lr=0.3`
    overview.write_overview(docs / "results", docs)
    readme = (docs.parent / "README.md").read_text()
    slash = overview.SLASH
    assert f"| untrained | 39.0{slash}37.3 | 20.8{slash}17.8 |" in readme
    assert "(docs/benchmarks-earlier.md)" in readme


def test_results_take_the_place_of_the_earlier_record(docs: Path) -> None:
    path = docs / "results" / "test.csv"
    untrained = {"arm": "untrained", "lr": "", "teacher": "", "teacher_size": ""}
    some = [make_row(seed=seed, linear_cached=60.0 + seed) for seed in range(3)]
    rows.add_rows(path, some)
    assert overview.read_figures(path.parent, docs).is_earlier  # the short table's arms are missing
    rows.add_rows(path, [make_row(linear_cached=30.0, **untrained), make_row(arm="mocov2plus")])
    assert overview.read_figures(path.parent, docs).is_earlier  # of too few seeds
    for seed in (1, 2):
        further = [make_row(seed=seed, linear_cached=30.0, **untrained)]
        rows.add_rows(path, [*further, make_row(seed=seed, arm="mocov2plus")])
    # most lines of a page would be empty
    assert overview.read_figures(path.parent, docs).is_earlier
    others = {*overview.CHOICES} - {"rekd", "mocov2plus"}
    rows.add_rows(path, [make_row(seed=seed, arm=arm) for arm in others for seed in range(3)])
    found = overview.read_figures(path.parent, docs)
    assert not found.is_earlier and found.seeds == 3
    assert found.by_student["alexnet"]["rekd"] == (61.0, 45.0)
    overview.write_overview(path.parent, docs)
    readme = (docs.parent / "README.md").read_text()
    assert f"| `alexnet` |\n| --- | --- |\n| untrained | 30.0{overview.SLASH}45.0 |" in readme
    assert "(docs/benchmarks.md)" in readme.partition("<!-- /bench:overview -->")[0]


def test_costs_and_published_figures_are_read_from_where_they_stand(docs: Path) -> None:
    costs = overview.steps(json.loads((docs / overview.PERFORMANCE).read_text()))
    assert costs["mocov2plus"] == ["1.00", "1.00"]
    assert costs["simreg"] == [overview.NONE, overview.NONE]
    papers = overview.published((docs / overview.PUBLISHED).read_text())
    expected = {"mocov2plus": "52.5", "seed": "57.6", "compress": "62.6", "simreg": "65.1"}
    assert expected.items() <= papers.items()
    assert "rekd" not in papers


def test_a_form_of_the_relation_is_compared_with_its_control_seed_by_seed(docs: Path) -> None:
    (found,) = (
        gain
        for gain in overview.relation_gains(docs / "results" / "search.csv")
        if gain.form == "relation=soft" and gain.place == "cifar10, alexnet"
    )
    assert (round(found.linear, 2), round(found.knn, 2)) == (2.30, 1.63)


def test_pages_and_figures_are_those_of_the_results(docs: Path) -> None:
    """Fails where a source has changed and `make tables` was not run."""
    results = DOCS / "results"
    for name in (overview.PICTURE, overview.RELATION):
        shutil.copy(DOCS / name, docs / name)
    overview.write_overview(results, docs)
    for name in (overview.CHOICE, overview.PICTURE, overview.RELATION):
        assert (docs / name).read_bytes() == (DOCS / name).read_bytes(), "run `make tables`"
    assert (docs.parent / "README.md").read_text() == (ROOT / "README.md").read_text()
