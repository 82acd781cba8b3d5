"""The conditions of runs, namely settings, versions and machine, and where runs differ."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from solo_rekd.checkpoints.run_record import plain
from solo_rekd.config import EARLIER, SIGHT
from solo_rekd.utils.errors import UserError
from solo_rekd.utils.files import read_json, write_json

FILE = "conditions.json"
LOADERS = "num_workers"  # affects which crops are drawn
UNSAID = ("cores", "memory", "system")  # facts of the machine that do not affect the results
NAMED = 3  # runs under one condition that are named, at most

Settings = Mapping[str, Any]


def begin(
    folder: Path, settings: Settings | None, workers: int, resumes: bool, part: Mapping[str, str]
) -> dict[str, Any]:
    """Records the conditions of one part of a run, and refuses to change its settings midway.

    Args:
        folder: folder of the run, where `conditions.json` is written.
        settings: everything in the job that affects the result, as the host read it; None:
            nothing is pretrained.
        workers: processes that load images.
        resumes: whether the run resumes an earlier part.
        part: versions and machine of this part.

    Returns:
        `settings`, and `parts`: versions and machine of every part of the run, in order; a part
        that equals the one before is left out.

    Raises:
        UserError: the run resumes, but began with other or unrecorded settings.
    """
    if settings is not None:
        part = {**part, LOADERS: str(workers)}
    kept = plain({} if settings is None else settings)
    conditions: dict[str, Any] = {"settings": kept, "parts": []}
    if resumes:
        conditions = read_json(folder / FILE) or {}
        if not {"settings", "parts"} <= conditions.keys():
            raise UserError(
                f"{folder} holds checkpoints, but {FILE} does not record their settings: remove "
                "that folder, or give another --out"
            )
        older = SIGHT | EARLIER
        for name in sorted(kept.keys() | conditions["settings"].keys()):
            began = {name: older.get(name.rpartition(".")[2])} | conditions["settings"]
            now, before = kept.get(name), began[name]
            if now != before:
                raise UserError(
                    f"{name}={now!r} differs from {before!r}, which {folder} began with: remove "
                    "that folder, or give another --out"
                )
    if conditions["parts"][-1:] != [part]:
        conditions["parts"].append(part)
    write_json(folder / FILE, conditions)
    return conditions


def differences(runs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Lists the conditions in which the runs of a report differ.

    Args:
        runs: each with `arm`, `seed` and, from its result, `conditions` and `teacher_sha256`.

    Returns:
        A line for every version and fact of the machine that differs between any runs, and for
        every setting and teacher that differs between runs of one arm, which are averaged.
    """
    runs = list(runs)
    names = list({name: None for run in runs for part in _parts(run) for name in part})
    lines = []
    for name in names:
        if name not in UNSAID:
            # a given teacher is only evaluated: no loader drew crops for it
            told = [run for run in runs if name != LOADERS or _settings(run)]
            values = [(_joined(run, name), f"{run['arm']} seed {run['seed']}") for run in told]
            lines.append(_line(name, values))
    arms: dict[str, list[Mapping[str, Any]]] = {}
    for run in runs:
        arms.setdefault(run["arm"], []).append(run)
    for arm, members in arms.items():
        facts = [_decided(run) for run in members]
        for name in dict.fromkeys(name for each in facts for name in each):
            values = [
                (str(each.get(name, "not recorded")), f"seed {run['seed']}")
                for each, run in zip(facts, members, strict=True)
            ]
            lines.append(_line(f"{arm}: {name}", values))
    return [line for line in lines if line]


def _parts(run: Mapping[str, Any]) -> list[dict[str, str]]:
    return run.get("conditions", {}).get("parts", [])


def _settings(run: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings of the pretraining; empty where nothing was pretrained."""
    return run.get("conditions", {}).get("settings", {})


def _joined(run: Mapping[str, Any], name: str) -> str:
    values = dict.fromkeys(part.get(name, "not recorded") for part in _parts(run))
    return ", then ".join(values) or "not recorded"


def _decided(run: Mapping[str, Any]) -> dict[str, Any]:
    facts = {name: value for name, value in _settings(run).items() if name != "seed"}
    return facts | {"SHA-256 of the teacher": run.get("teacher_sha256")}


def _line(what: str, values: Sequence[tuple[str, str]]) -> str:
    """Writes which runs have which value; empty where all have the same."""
    owners: dict[str, list[str]] = {}
    for value, run in values:
        owners.setdefault(value, []).append(run)
    if len(owners) < 2:
        return ""
    said = []
    for value, members in owners.items():
        more = f" and {len(members) - NAMED} more" if len(members) > NAMED else ""
        said.append(f"{value} ({', '.join(members[:NAMED])}{more})")
    return f"{what} differs between runs: {'; '.join(said)}"
