"""The versions of solo-learn that are installed, and whether the plug-in reaches them."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from solo_rekd.commands.doctor.finding import OK, TROUBLE, Finding, install
from solo_rekd.commands.doctor.imported import import_all
from solo_rekd.commands.doctor.packages import of_extra, version_of
from solo_rekd.hosts import CLASSIC, MAIN, kind_of
from solo_rekd.utils.versions import commit_of

MODULES = {CLASSIC: "solo.args.setup", MAIN: "solo.args.pretrain"}
LIGHTNINGS = {CLASSIC: "pytorch-lightning", MAIN: "lightning"}
EXTRAS = {CLASSIC: "classic", MAIN: "current"}
INACTIVE = "the plug-in is not active"  # printed by the start-up hook


def look() -> list[Finding]:
    """Checks each host on Python's path; finding none is trouble."""
    found: dict[str, Path] = {}
    for folder in (Path.cwd(), *map(Path, sys.path)):
        if (kind := kind_of(folder)) is not None:
            found.setdefault(kind, folder.absolute())
    if not found:
        text = "not found: neither 1.0.2 nor a checkout of the main branch is on Python's path"
        return [Finding(TROUBLE, "solo-learn", text, install("--no-deps", "solo-learn==1.0.2"))]
    return [finding for kind, root in found.items() for finding in look_at(kind, root)]


def look_at(kind: str, root: Path) -> Iterator[Finding]:
    """Checks one host: its version, and whether importing it registers our methods.

    Args:
        kind: `classic` or `main`.
        root: folder that holds its package.
    """
    subject = f"solo-learn, {kind}"
    version = version_of("solo-learn") if kind == CLASSIC else commit_of(root)
    lightning = f"{LIGHTNINGS[kind]} {version_of(LIGHTNINGS[kind]) or 'not installed'}"
    text = f"{version or 'unknown version'} in {root}, {lightning}"
    path = [str(root), *(folder for folder in sys.path if folder != str(root))]
    imported = import_all([MODULES[kind]], path)
    facts = imported.modules[MODULES[kind]]
    if "error" in facts:
        text = f"{text}; its import fails: {facts['error']}"
        yield Finding(TROUBLE, subject, text, install(*of_extra(EXTRAS[kind])))
        return
    yield Finding(OK, subject, text)
    reached = f"plug-in in {kind}"
    if facts.get("registered"):
        yield Finding(OK, reached, "unedited scripts know its methods")
        return
    said = [line for line in imported.stderr.splitlines() if INACTIVE in line]
    text = said[-1] if said else "unedited scripts do not know its methods"
    fix = "SOLO_REKD_TRACEBACK=1 solo-rekd list --host " + kind
    if os.environ.get("SOLO_REKD_AUTOLOAD") == "0":
        fix = "unset SOLO_REKD_AUTOLOAD"
    elif not said:
        fix = "solo-rekd run SCRIPT, which needs no start-up hook"
    yield Finding(TROUBLE, reached, text, fix)
