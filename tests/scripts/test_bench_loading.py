"""The benchmark of loading, on the classic host."""

from pathlib import Path

import pytest
from bench import loading


@pytest.mark.trial
def test_every_loader_is_measured_beside_torchvisions(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "HOSTS", {"classic": "classic"})
    rows = loading.measure(data, quick=True)
    measured = [(row["host"], row["size"], row["workers"], row["loader"]) for row in rows]
    loaders = [name for name in loading.LOADERS if ("classic", 32, 0, name) in measured]
    assert loaders[:3] == ["torchvision", "decoded", "v2"]
    assert measured == [("classic", 32, number, name) for number in (0, 1) for name in loaders]
    for row in rows:
        assert row["images_per_second"] > 0
        assert 0 <= row["waiting"] < 1
    assert [row["ratio"] for row in rows if row["loader"] == "torchvision"] == [1, 1]
    assert len(loading.table(rows).splitlines()) == 2 + len(rows)
