"""The callbacks that Lightning finds by entry points."""

import sys
from importlib.metadata import entry_points

import pytest

FACTORIES = {
    "pytorch_lightning.callbacks_factory": "solo_rekd.hosts.classic.callbacks",
    "lightning.pytorch.callbacks_factory": "solo_rekd.hosts.current.callbacks",
}


@pytest.mark.parametrize(("group", "adapter"), FACTORIES.items())
def test_a_trainer_of_another_program_gets_none(
    group: str, adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, adapter, raising=False)
    (factory,) = [entry for entry in entry_points(group=group) if entry.name == "solo-rekd"]
    assert factory.load()() == []
