"""Converts between words of a command line and a job's settings.

The words after a bare `--` may be the classic host's flags (`--precision 16`) or the current
host's keys (`precision=16`): those in the table of names work on both.
"""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Any

from solo_rekd.hosts import names
from solo_rekd.hosts.jobs import Images, Pretraining
from solo_rekd.utils.errors import UserError

# flags whose values are text, though they may look like numbers
TEXTS = ("name", "project", "entity", "auto_umap_dir", "default_root_dir")
WORDS = {"true": True, "false": False, "null": None, "none": None}
VIEW_KEY = "augmentations"  # the current host's list of views, whose entries hold the keys of VIEW


def read_words(words: Sequence[str]) -> dict[str, Any]:
    """Reads flags and keys with their values.

    Args:
        words: such as `--min_scale 0.4 --dali optimizer.name=lars`.

    Returns:
        Each name's value: a number where it is one, several values as a tuple, True for a flag
        without a value.

    Raises:
        UserError: a value comes before any name.
    """
    found: dict[str, list[str]] = {}
    name = None
    for word in words:
        flag, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--") and flag:
            name = flag
            found[name] = [value] if equals else []
        elif equals and not word.startswith("-"):
            found[flag], name = [value], None
        elif name is None:
            raise UserError(f"{word} after -- belongs to no flag: give --NAME VALUE or KEY=VALUE")
        else:
            found[name].append(word)
    return {name: values_of(name, texts) for name, texts in found.items()}


def values_of(name: str, texts: Sequence[str]) -> Any:
    """Returns the value of a flag: a tuple of several words, True without any."""
    values = tuple(text if name in TEXTS else value_of(text) for text in texts)
    return values if len(values) > 1 else values[0] if values else True


def value_of(text: str) -> Any:
    """Reads a number, true or false, null or a list; other text is returned as it is."""
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    with suppress(ValueError):
        if str(int(text)) == text:  # 02 is not a number, but two devices
            return int(text)
        return text
    with suppress(ValueError):
        if isfinite(number := float(text)):
            return number
    if text.startswith(("[", "{")):
        with suppress(ValueError):
            return json.loads(text)
    return text


def flags(settings: Mapping[str, Any]) -> list[str]:
    """Writes flags with their values: True is a bare flag; None and False are left out."""
    said: list[str] = []
    for name, value in settings.items():
        if value is None or value is False:
            continue
        values = () if value is True else value if isinstance(value, tuple | list) else (value,)
        said += [f"--{name}", *map(str, values)]
    return said


def folders(images: Images) -> dict[str, str | None]:
    """Returns the common folder of the images and the folders in it, by their flags."""
    if images.val is None:
        root = str(Path(images.train).parent)
    else:
        root = os.path.commonpath([images.train, images.val]) or "."
    return {
        "data_dir": root,
        "train_dir": os.path.relpath(images.train, root),
        "val_dir": None if images.val is None else os.path.relpath(images.val, root),
    }


def override(job: Pretraining, settings: Mapping[str, Any]) -> Pretraining:
    """Puts settings of a host's words into a job; those without a field go to `host`."""
    for name, value in settings.items():
        if field := _field(name, names.VIEW, f"{VIEW_KEY}."):
            views = tuple(dataclasses.replace(view, **{field: value}) for view in job.views)
            job = dataclasses.replace(job, views=views)
        elif field := _field(name, names.OPTIMIZER | names.WARMUP):
            optimizer = dataclasses.replace(job.optimizer, **{field: value})
            job = dataclasses.replace(job, optimizer=optimizer)
        elif field := _field(name, names.PRETRAINING):
            job = dataclasses.replace(job, **{field: value})
        elif field := _field(name, names.MOMENTUM) or _of_method(name):
            job = dataclasses.replace(job, settings={**job.settings, field: value})
        else:
            field = _field(name, names.HOST) or name
            job = dataclasses.replace(job, host={**job.host, field: value})
    return job


def _field(name: str, table: Mapping[str, names.Name], prefix: str = "") -> str | None:
    for field, known in table.items():
        if name in (known.classic, f"{prefix}{known.current}"):
            return field
    return None


def _of_method(name: str) -> str | None:
    group, _, field = name.partition(".")
    return field if group == "method_kwargs" and field else None
