"""The GPU, and the folders that runs write to."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from solo_rekd.commands.doctor.finding import NOTE, OK, TROUBLE, Finding
from solo_rekd.commands.doctor.packages import Facts, reinstall
from solo_rekd.utils.files import user_cache

ROOM = 5e9  # bytes; with less, a run may not finish
SHOW_GPUS = ("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")


def look() -> Iterator[Finding]:
    """Checks the cache and the current folder."""
    try:
        cache = user_cache()
    except RuntimeError as error:
        yield Finding(
            TROUBLE, "cache", f"it has no folder: {error}", "export XDG_CACHE_HOME=FOLDER"
        )
    else:
        yield look_at_folder("cache", cache, "export XDG_CACHE_HOME=FOLDER")
    yield look_at_folder("current folder", Path.cwd(), "cd FOLDER")


def look_at_folder(subject: str, folder: Path, elsewhere: str) -> Finding:
    """Checks whether a folder, which need not exist yet, can be written to and has room.

    Args:
        subject: what the folder is.
        folder: its path.
        elsewhere: command that chooses another folder.
    """
    there = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    try:
        if not there.is_dir():
            raise NotADirectoryError(f"{there} is a file")
        with tempfile.TemporaryFile(dir=there):
            pass
        free = shutil.disk_usage(there).free
    except OSError as error:
        reason = error.strerror or error
        return Finding(TROUBLE, subject, f"{folder} cannot be written to: {reason}", elsewhere)
    text = f"{free / 1e9:.0f} GB free in {folder}"
    if free < ROOM:
        return Finding(TROUBLE, subject, f"only {text}", elsewhere)
    return Finding(OK, subject, text)


def look_at_gpu(facts: Facts) -> Iterator[Finding]:
    """Checks whether torch sees the driver's GPUs.

    Args:
        facts: what torch reports.
    """
    torch, driver = facts["torch"], _driver()
    if torch.get("gpus"):
        named = ", ".join(torch["gpus"])
        yield Finding(OK, "GPU", f"{named}, CUDA {torch['cuda']}; {driver or 'driver unknown'}")
    elif driver and "error" not in torch:
        text = f"the driver has {driver}, but torch {torch.get('version')} sees none"
        yield Finding(TROUBLE, "GPU", text, reinstall("torch", "", "torchvision"))
    else:
        yield Finding(NOTE, "GPU", driver or "none found: training runs on the CPU")


def _driver() -> str:
    try:
        done = subprocess.run(SHOW_GPUS, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return "; ".join(filter(None, map(str.strip, done.stdout.splitlines())))
