"""The callbacks that Lightning finds by entry points."""

import subprocess
import sys
from importlib.metadata import entry_points
from types import SimpleNamespace

import pytest

from solo_rekd.hosts.shared import ownership

FACTORIES = {
    "pytorch_lightning.callbacks_factory": "solo_rekd.hosts.classic.callbacks",
    "lightning.pytorch.callbacks_factory": "solo_rekd.hosts.current.callbacks",
}


@pytest.mark.parametrize(("group", "adapter"), FACTORIES.items())
def test_a_trainer_of_another_program_gets_none(
    group: str, adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "solo_rekd.hosts.shared.ownership", raising=False)
    (factory,) = [entry for entry in entry_points(group=group) if entry.name == "solo-rekd"]
    assert factory.load()() == []


@pytest.mark.parametrize(("group", "adapter"), FACTORIES.items())
def test_only_a_process_with_a_run_of_ours_gets_them(
    group: str, adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, adapter, SimpleNamespace(callbacks=lambda: ["ours"]))  # type: ignore[arg-type]
    (factory,) = [entry for entry in entry_points(group=group) if entry.name == "solo-rekd"]
    monkeypatch.setattr(ownership, "_claimed", False)
    for ours in (True, False):
        monkeypatch.setattr(ownership, "_noted", ours)
        assert factory.load()() == (["ours"] if ours else [])
    ownership.claim()
    assert factory.load()() == ["ours"]


def test_the_factories_import_nothing_heavy() -> None:
    code = (
        "import sys; before = set(sys.modules); import solo_rekd.hosts.callbacks as ours; "
        "ours.current(); ours.classic(); print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"torch", "numpy", "solo", "lightning", "pytorch_lightning", "timm", "hydra"}
    assert heavy.isdisjoint(name.partition(".")[0] for name in done.stdout.split())
