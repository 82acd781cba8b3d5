"""Fingerprints of images: SHA-256 over their content, names and labels, in their order.

The digest of every file is kept in the user's cache folder for the next start, as long as the
file's status stays the same.
"""

import hashlib
import logging
import os
import time
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from solo_rekd.images.labels import stored_labels
from solo_rekd.utils.cores import cores
from solo_rekd.utils.errors import UserError
from solo_rekd.utils.files import BLOCK, replacing, user_cache
from solo_rekd.utils.processes import is_first
from solo_rekd.utils.progress import bar_interval

_log = logging.getLogger("solo_rekd")

SETTLED = 2_000_000_000  # ns without a change, after which a file's times tell the next change
ROOTS = 64  # folders whose digests are kept, at most
SHOWN = 2.0  # seconds after which a progress bar appears

Status = tuple[int, int, int, int]  # size, times of modification and of change, inode
# what NumPy raises for a file that is damaged, or of another kind
DAMAGED = (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile)


class Known(NamedTuple):
    """A file's digest, and the file's status at that time; None: it must not be cached."""

    status: Status | None
    digest: bytes


def fingerprint(dataset: Any) -> str:
    """Identifies a data set by its images, their names and labels, and their order.

    Args:
        dataset: an image folder with `root` and `samples` (path, class), images without classes
            with `root` and `images`, their paths relative to it, one in the HDF5 file `h5_path`,
            one with all pixels in the array `data`, or any with its own method `fingerprint`.

    Returns:
        SHA-256 in hexadecimal. It does not change if the images are moved to another folder.
    """
    if hasattr(dataset, "fingerprint"):
        return dataset.fingerprint()
    if hasattr(dataset, "samples"):
        paths = [str(path) for path, _ in dataset.samples]
        return fingerprint_files(paths, dataset.root, stored_labels(dataset))
    if hasattr(dataset, "images"):
        paths = [os.path.join(dataset.root, name) for name in dataset.images]
        return fingerprint_files(paths, dataset.root)
    if hasattr(dataset, "h5_path"):
        path = os.path.abspath(dataset.h5_path)
        # the file may be renamed, but its images may not
        digest = hashlib.sha256(digest_files([path], os.path.dirname(path))[0])
        digest.update(repr(list(map(tuple, dataset._data))).encode(errors="surrogateescape"))
        return digest.hexdigest()
    if hasattr(dataset, "data"):
        digest, labels = hashlib.sha256(), stored_labels(dataset)
        for array in map(np.asarray, (dataset.data, () if labels is None else labels)):
            digest.update(f"{array.shape} {array.dtype} ".encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()
    raise UserError(
        "images can be identified only in image folders, HDF5 files, CIFAR and STL-10: give the "
        "data as one of these"
    )


def fingerprint_files(
    paths: Sequence[str], root: str | Path, labels: Sequence[Any] | None = None
) -> str:
    """Computes the SHA-256 of files' content, names and labels, in order.

    Args:
        paths: the files.
        root: folder that their names are relative to.
        labels: one label per file; None: they have none.

    Returns:
        64 hexadecimal digits. They do not change if the files are moved with their folder.

    Raises:
        UserError: a file cannot be read.
    """
    digest = hashlib.sha256()
    labels = [None] * len(paths) if labels is None else labels
    names, digests = relative_names(paths, root), digest_files(paths, root)
    for name, label, content in zip(names, labels, digests, strict=True):
        # no name holds a zero byte, and every digest is of equal length
        digest.update(os.fsencode(name) + f"\0{label}\0".encode() + content)
    return digest.hexdigest()


def relative_names(paths: Sequence[str], root: str | Path) -> list[str]:
    """Returns the names of files relative to a folder; a million take a second."""
    start = str(root).rstrip(os.sep) + os.sep
    return [
        path[len(start) :] if path.startswith(start) else os.path.relpath(path, root)
        for path in paths
    ]


def digest_files(paths: Sequence[str], root: str | Path) -> list[bytes]:
    """Computes the SHA-256 of each file, or reads it from the cache if the file has not changed.

    Args:
        paths: the files.
        root: folder under whose name the digests are cached.

    Raises:
        UserError: a file cannot be read.
    """
    root = os.path.abspath(root)
    names, kept = relative_names(paths, root), cache_file(root)
    known = read_cache(kept, root)
    with (
        tqdm(
            total=len(paths),
            desc="fingerprint of the images",
            unit="file",
            delay=SHOWN,
            mininterval=bar_interval(),
            disable=not is_first(),
            dynamic_ncols=True,
        ) as bar,
        ThreadPool(cores()) as threads,
    ):
        found, any_new = [], False
        digest, files = partial(_digest, known), zip(paths, names, strict=True)
        for each, new in threads.imap(digest, files, chunksize=64):
            found.append(each)
            any_new = any_new or new
            bar.update()
    if any_new:
        write_cache(kept, root, known, dict(zip(names, found, strict=True)))
    return [each.digest for each in found]


def cache_file(root: str) -> Path | None:
    """Returns the cache file for the digests of a folder; None without a user's cache folder."""
    try:
        folder = user_cache() / "digests"
    except RuntimeError:
        return None
    return folder / f"{hashlib.sha256(os.fsencode(root)).hexdigest()[:32]}.npz"


def read_cache(path: Path | None, root: str) -> dict[str, Known]:
    """Reads the digests of a folder's files by name; empty if they are damaged or missing."""
    if path is None:
        return {}
    try:
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            if _text(file["root"]) != root:
                return {}
            names = _text(file["names"]).split("\0")
            statuses, digests = file["statuses"], file["digests"]
    except DAMAGED:
        return {}
    if statuses.shape != (len(names), 4) or digests.shape != (len(names), 32):
        return {}
    joined = digests.tobytes()
    return {
        name: Known(tuple(status), joined[32 * place : 32 * place + 32])
        for place, (name, status) in enumerate(zip(names, statuses.tolist(), strict=True))
    }


def write_cache(
    path: Path | None, root: str, known: Mapping[str, Known], found: Mapping[str, Known]
) -> None:
    """Writes the digests of a folder's files, completely or not at all; failing is no error.

    Args:
        path: the file.
        root: the folder.
        known: what the file held; unchanged entries are kept.
        found: what was found now.
    """
    if path is None:
        return
    kept = {name: each for name, each in found.items() if each.status is not None}
    for name in known.keys() - found.keys():
        try:
            same = _status(os.stat(os.path.join(root, name))) == known[name].status
        except (OSError, ValueError):
            continue
        if same:
            kept[name] = known[name]
    arrays: dict[str, Any] = {
        "root": _bytes(root),
        "names": _bytes("\0".join(kept)),
        "statuses": np.array([each.status for each in kept.values()], np.int64),
        "digests": np.frombuffer(b"".join(each.digest for each in kept.values()), np.uint8).reshape(
            -1, 32
        ),
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished, unfinished.open("wb") as file:
            np.savez(file, **arrays)
        drop_gone(path.parent)
    except OSError:
        _log.debug("the digests of %s are not kept", root)


def drop_gone(folder: Path) -> None:
    """Removes the digests of deleted folders, and the oldest beyond `ROOTS` folders."""
    files = sorted(folder.glob("*.npz"), key=lambda path: path.stat().st_mtime, reverse=True)
    for place, path in enumerate(files):
        try:
            with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                gone = not os.path.isdir(_text(file["root"]))
        except DAMAGED:
            gone = True
        if gone or place >= ROOTS:
            path.unlink(missing_ok=True)


def _digest(known: Mapping[str, Known], file: tuple[str, str]) -> tuple[Known, bool]:
    """Returns a file's digest, and whether it should be written to the cache."""
    path, name = file
    try:
        status, now = _status(os.stat(path)), time.time_ns()
        if name in known and known[name].status == status:
            return known[name], False
        digest = hashlib.sha256()
        with open(path, "rb", buffering=0) as opened:
            while block := opened.read(BLOCK):
                digest.update(block)
            same = _status(os.fstat(opened.fileno())) == status
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path} cannot be read: {reason}") from error
    # a change soon after another may leave the times as they are, which clocks round
    settled = same and now - max(status[1], status[2]) > SETTLED
    return Known(status if settled else None, digest.digest()), settled


def _status(status: os.stat_result) -> Status:
    # a copy can keep the time of modification, but not the other two
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(os.fsencode(text), np.uint8)


def _text(array: np.ndarray) -> str:
    return os.fsdecode(array.tobytes())
