"""What is replaced in a host for a run, and put back after it."""

from types import SimpleNamespace

import pytest

from solo_rekd.hosts.shared import changes, ownership
from solo_rekd.hosts.shared.changes import Changes


class Owner:
    value = "own"


def test_attributes_and_entries_come_back() -> None:
    module, table = SimpleNamespace(name="own"), {"name": "own"}
    made = Changes()
    for owner in (module, table):
        made.set(owner, "name", "first")
        made.set(owner, "name", "second")
        assert made.own(owner, "name") == "own"
    made.set(table, "new", 1)
    made.set(Owner, "value", "ours")
    assert (module.name, table, Owner.value) == ("second", {"name": "second", "new": 1}, "ours")
    made.undo()
    assert (module.name, table, Owner.value) == ("own", {"name": "own"}, "own")
    made.redo()
    assert (module.name, table, Owner.value) == ("second", {"name": "second", "new": 1}, "ours")
    made.clear()
    made.redo()
    assert (module.name, table, Owner.value) == ("own", {"name": "own"}, "own")


def test_wrapping_twice_wraps_the_hosts_own() -> None:
    module, made = SimpleNamespace(name="own"), Changes()
    for _ in range(2):
        made.wrap(module, "name", lambda own: f"({own})")
        assert module.name == "(own)"
    made.clear()


@pytest.mark.parametrize("ours", [True, False])
def test_a_run_that_begins_ends_the_changes_of_the_last(
    ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "RUN", Changes())
    monkeypatch.setattr(ownership, "_claimed", False)
    monkeypatch.setattr(ownership, "_noted", not ours)
    module = SimpleNamespace(name="own")
    changes.RUN.set(module, "name", "ours")
    changes.begin(ours)
    assert module.name == "own"
    assert ownership.has_our_run() == ours
