"""Checks which run another may resume: one with the same images and result-changing settings."""

import logging
import os
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from solo_rekd.checkpoints.read import read_complete
from solo_rekd.checkpoints.run_record import KEY, plain, settings_of
from solo_rekd.hosts.shared.saved import ENDING, newest_first
from solo_rekd.utils.errors import UserError

_log = logging.getLogger("solo_rekd")

IMAGES = f"{KEY}.images"  # the fingerprint of the training images
START = f"{KEY}.student_checkpoint"  # the SHA-256 of the file that the student started from
# a cosine learning rate over all epochs fixes the length of the training
COSINES = ("warmup_cosine", "cosine")
# they tell runs apart where one is looked for; one that is given may have another name
LABELS = ("name", "project", "entity")
SHOWN = 3  # differences in a message, at most


def flatten(settings: Any, prefix: str = "") -> dict[str, Any]:
    """Flattens nested settings to dotted names; an empty group is kept.

    Args:
        settings: nested groups, as `plain` makes them.
        prefix: prefix of every name.
    """
    inner: Mapping[Any, Any] = {}
    if isinstance(settings, Mapping):
        inner = settings
    elif isinstance(settings, list) and all(isinstance(each, Mapping) for each in settings):
        inner = dict(enumerate(settings))
    if not inner:
        return {prefix: settings}
    named = {f"{prefix}.{key}" if prefix else str(key): value for key, value in inner.items()}
    return {
        name: value for key, each in named.items() for name, value in flatten(each, key).items()
    }


class Rule(NamedTuple):
    """How a host's runs are compared.

    Attributes:
        ignored: names of settings and groups that do not affect the result.
        defaults: values that apply where a run does not name a setting, by dotted name.
    """

    ignored: Collection[str]
    defaults: Mapping[str, Any]


def decisive(settings: Mapping[str, Any], rule: Rule) -> dict[str, Any]:
    """Returns the settings that affect a run's result, under dotted names, as after JSON."""
    found = flatten(plain(settings))
    return {name: value for name, value in found.items() if not _is_under(name, rule.ignored)}


def differences(
    earlier: Mapping[str, Any], now: Mapping[str, Any], rule: Rule
) -> dict[str, tuple[Any, Any]]:
    """Compares all settings of two runs that affect the result.

    Args:
        earlier: settings of the run that wrote a checkpoint.
        now: settings of the run that will resume it.
        rule: rule of their host.

    Returns:
        The values before and now, by name; None for what one side lacks. The plug-in's own records
        are compared only if both have them, as an older checkpoint has fewer. A run whose student
        did not start from a file has no record of one.
    """
    before, after = flatten(plain(earlier)), flatten(plain(now))
    before = {name: rule.defaults[name] for name in rule.defaults if name in after} | before
    names = [name for name in {**before, **after} if not _is_under(name, rule.ignored)]
    found = {name: (before.get(name), after.get(name)) for name in names}
    return {
        name: (old, new)
        for name, (old, new) in found.items()
        if old != new and (name == START or not (name.startswith(f"{KEY}.") and None in (old, new)))
    }


def _is_under(name: str, groups: Collection[str]) -> bool:
    return any(name == group or name.startswith(f"{group}.") for group in groups)


def find_resumable(
    folder: Path, max_hours: float, settings: Mapping[str, Any], rule: Rule
) -> Path | None:
    """Finds the newest complete checkpoint of the same run; logs why it skips others.

    Args:
        folder: folder of the runs of one method.
        max_hours: maximum age of a checkpoint.
        settings: settings of the run to resume.
        rule: rule of its host.
    """
    for path in _candidates(folder, max_hours):
        try:
            checkpoint = read_complete(path)
        except UserError as error:
            _log.warning("auto-resume skips a file: %s", error)
            continue
        if found := differences(settings_of(checkpoint, path), settings, rule):
            _log.info("auto-resume skips %s: %s", path, _say(found))
        else:
            return path
    return None


def _candidates(folder: Path, max_hours: float) -> Iterator[Path]:
    """Yields the checkpoints of every run, the latest run and the latest epoch first."""
    runs: dict[float, list[Path]] = {}
    for root, _, names in os.walk(folder):
        paths = [Path(root) / name for name in names if name.endswith(ENDING)]
        ages = {path: time.time() - path.stat().st_ctime for path in paths}
        young = [path for path in paths if ages[path] < max_hours * 3600]
        if young:
            runs.setdefault(min(ages.values()), []).extend(newest_first(young))
    for _, paths in sorted(runs.items()):
        yield from paths


def refuse_another_run(earlier: Mapping[str, Any], now: Mapping[str, Any], rule: Rule) -> None:
    """Refuses to resume a checkpoint whose run had other settings.

    Args:
        earlier: settings of the run that wrote it; empty if they are not known.
        now: settings of this run.
        rule: rule of their host.

    Raises:
        UserError: a setting differs. The length may, where no learning rate depends on it.
    """
    if not earlier:
        return
    found = differences(earlier, now, rule._replace(ignored=(*rule.ignored, *LABELS)))
    scheduler = flatten(plain(now)).get("scheduler.name", now.get("scheduler"))
    if scheduler not in COSINES:
        found.pop("max_epochs", None)
    if found:
        raise UserError(
            f"the checkpoint to resume is from a run with other settings: {_say(found)}: give "
            "the settings of the checkpoint, or start again without it"
        )


def _say(found: Mapping[str, tuple[Any, Any]]) -> str:
    names = list(found)[:SHOWN]
    told = [_say_one(name, *found[name]) for name in names]
    more = len(found) - len(names)
    return ", ".join(told) + (f" and {more} more" if more else "")


def _say_one(name: str, old: Any, new: Any) -> str:
    if name == IMAGES:
        return "the training images are different"
    if name == START:
        before, now = (f"the file {digest[:12]}" if digest else "none" for digest in (old, new))
        return f"student_checkpoint is {now} (by SHA-256), was {before}"
    return f"{name}={new!r} was {old!r}"
