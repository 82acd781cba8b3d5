"""`make audit`: what is left out of it, and for how long."""

import csv
from datetime import date, timedelta
from pathlib import Path

import audit
import locked
import pytest

ROOT = Path(__file__).parents[2]
TODAY = date(2026, 11, 27)
YEAR = timedelta(days=366)


def test_every_explanation_is_of_a_locked_package_and_ends() -> None:
    names = {entry.name for entry in locked.read_entries((ROOT / "requirements.lock").read_text())}
    explained = audit.read()
    assert explained and {one.package for one in explained} <= names
    assert all(one.until < TODAY + YEAR and len(one.reason) > 30 for one in explained)


@pytest.mark.parametrize(("days", "is_left_out"), [(1, True), (0, False), (-1, False)])
def test_an_advisory_is_left_out_until_its_explanation_ends(days: int, is_left_out: bool) -> None:
    one = audit.Explained(("CVE-1", "PYSEC-1"), "torch", TODAY + timedelta(days), "why")
    words = audit.command("a.lock", [one], TODAY)
    assert words[-2:] == (["--ignore-vuln", "PYSEC-1"] if is_left_out else ["-r", "a.lock"])
    assert {"--require-hashes", "--strict"} <= {*words}


@pytest.mark.parametrize(
    "change", [{"until": "soon"}, {"reason": ""}, {"ids": ""}, {"until": None}]
)
def test_a_line_that_explains_nothing_is_refused(change: dict[str, str], tmp_path: Path) -> None:
    line = {"ids": "CVE-1", "package": "torch", "until": "2027-01-01", "reason": "why"}
    path = tmp_path / "advisories.csv"
    with path.open("w") as file:
        writer = csv.DictWriter(file, line)
        writer.writeheader()
        writer.writerow(line | change)
    with pytest.raises(SystemExit, match=r"advisories\.csv, line 2"):
        audit.read(path)
