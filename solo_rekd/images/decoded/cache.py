"""The cache of decoded images: one folder per set of images.

Runs and comparisons on the same images share one, wherever the images are stored. It holds
`pixels.bin`, the RGB bytes of all images one after the other, `index.npy`, see `index`, and
`facts.json`.
"""

import fcntl
import hashlib
import json
import logging
import os
import secrets
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import features
from tqdm import tqdm

from solo_rekd.images.decoded.index import Place, make_index
from solo_rekd.images.decoded.loader import INDEX, PIXELS
from solo_rekd.images.fingerprint import fingerprint_files, relative_names
from solo_rekd.images.read import load_rgb, opened
from solo_rekd.utils.cores import cores
from solo_rekd.utils.errors import UserError
from solo_rekd.utils.files import UNFINISHED, read_json, sha256, user_cache, write_json
from solo_rekd.utils.locks import alone

FACTS = "facts.json"
LIMIT = 8 << 30  # bytes that the user's own cache takes at most
READER = "3"  # of `load_rgb` and the files: a change makes older folders useless
PART = 128  # images that are in memory at once
DECODERS = ("libjpeg_turbo", "webp", "jpg_2000")  # of Pillow, whose pixels a version may change
SAMPLE = 256  # images whose headers tell the size of all
ABANDONED = 24 * 3600  # seconds after which an unfinished folder is nobody's

_log = logging.getLogger("solo_rekd")


def find_or_decode(
    paths: Sequence[str], root: str | Path, given: str | None = None, *, skip: bool = False
) -> Path | None:
    """Finds the decoded images, or decodes them.

    If several processes need the same images, one decodes them and the others wait as long as it
    gives signs of life. To make room, folders that no process reads are removed, the longest unused
    first.

    Args:
        paths: paths of the images.
        root: folder of the images.
        given: folder of the cache, which may take half of its disk; None: the user's own, up to
            `LIMIT`.
        skip: whether to skip images that cannot be decoded.

    Returns:
        The folder of the decoded images; None where there is no room.
    """
    try:
        cache = Path(given).expanduser() if given is not None else user_cache() / "images"
        cache.mkdir(parents=True, exist_ok=True)
        return _find_or_decode(paths, root, cache, None if given is not None else LIMIT, skip)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        if given is not None:
            raise UserError(f"decoded_images={given!r} cannot be written: {reason}") from error
        _log.warning(
            "images are decoded again in every epoch, because none can be kept: %s", reason
        )
        return None


def facts_of(folder: Path) -> dict[str, Any]:
    """Returns a folder's `identity`, `sha256` of its files, number of `images`, and `bytes`."""
    return read_json(folder / FACTS) or {}


def identify(paths: Sequence[str], root: str | Path) -> dict[str, str]:
    """Returns what decoded images depend on: the images' names and content, and the decoders."""
    return {
        "reader": READER,
        "images": fingerprint_files(paths, root),
        "Pillow": PIL.__version__,
        **{name: str(features.version(name)) for name in DECODERS},
    }


def estimate_bytes(paths: Sequence[str], skip: bool = False) -> int:
    """Estimates the bytes of the decoded images from the sizes of a sample.

    Args:
        paths: paths of the images.
        skip: whether to skip unreadable images of the sample.

    Raises:
        UserError: an image of the sample cannot be read; with `skip`, none can.
    """
    sample = paths[:: max(1, len(paths) // SAMPLE)]
    sizes = []
    for place, path in enumerate(sample):
        try:
            with opened(path) as image:
                sizes.append(3 * image.width * image.height)
        except UserError:
            if not skip or (not sizes and place == len(sample) - 1):
                raise
    return round(sum(sizes) / len(sizes) * len(paths))


def _find_or_decode(
    paths: Sequence[str], root: str | Path, cache: Path, limit: int | None, skip: bool
) -> Path | None:
    taken = sum(size for size, _, _ in _listed(cache))
    free = shutil.disk_usage(cache).free
    bound = (free + taken) // 2 if limit is None else min(limit, (free + taken) // 2)
    estimate = estimate_bytes(paths, skip)
    if estimate > bound:  # before every file is read
        _say_no_room(estimate, bound)
        return None
    identity = identify(paths, root)
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    folder = cache / digest[:32]
    with alone(folder.with_suffix(".lock"), "decodes the images"):
        if not _holds(folder, identity):
            if not _make_room(cache, estimate, bound, folder):
                _say_no_room(estimate, bound)
                return None
            _write(paths, root, identity, folder, skip)
        os.utime(folder / FACTS)  # when it was used last
    return folder


def _say_no_room(estimate: int, bound: int) -> None:
    line = "decoded images would take %.1f of at most %.1f GB: every epoch decodes them again"
    _log.info(line, estimate / 1e9, bound / 1e9)


def _write(
    paths: Sequence[str], root: str | Path, identity: dict[str, str], out: Path, skip: bool
) -> None:
    unfinished = out.with_name(f"{out.name}.{secrets.token_hex(4)}{UNFINISHED}")
    unfinished.mkdir()
    try:
        places = _write_pixels(paths, unfinished / PIXELS, skip)
        with (unfinished / INDEX).open("wb") as file:
            np.save(file, make_index(relative_names(list(places), root), [*places.values()]))
            file.flush()
            os.fsync(file.fileno())
        digests = {name: sha256(unfinished / name) for name in (PIXELS, INDEX)}
        size = sum((unfinished / name).stat().st_size for name in digests)
        facts = {"identity": identity, "sha256": digests, "images": len(paths), "bytes": size}
        write_json(unfinished / FACTS, facts)
        shutil.rmtree(out, ignore_errors=True)
        with suppress(FileExistsError):  # of another process, see `alone`
            _rename(unfinished, out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _rename(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:  # a folder that is not empty has another number on each system
        if target.is_dir():
            raise FileExistsError(target) from error
        raise


def _write_pixels(paths: Sequence[str], out: Path, skip: bool) -> dict[str, Place]:
    """Writes the images one after the other; returns the position of each by its path."""
    places: dict[str, Place] = {}
    with out.open("wb") as file, ThreadPool(cores()) as threads:
        # part by part: a pool does not wait for the disk
        parts = (paths[start : start + PART] for start in range(0, len(paths), PART))
        read = partial(_pixels, skip=skip)
        decoded = chain.from_iterable(threads.imap(read, part, chunksize=4) for part in parts)
        shown = tqdm(decoded, "decoding images", len(paths), unit="image", mininterval=1)
        for path, pixels in zip(paths, shown, strict=True):
            if pixels is not None:
                places[path] = Place(file.tell(), *pixels.shape[:2])
                file.write(pixels.tobytes())
        file.flush()
        os.fsync(file.fileno())
    return places


def _pixels(path: str, skip: bool) -> np.ndarray | None:
    try:
        return np.asarray(load_rgb(path))
    except UserError:
        if skip:
            return None
        raise


def _holds(folder: Path, identity: dict[str, str]) -> bool:
    """Whether the images are there, with every byte as written; takes a second per gigabyte."""
    facts = facts_of(folder)
    if facts.get("identity") != identity:
        return False
    digests = facts.get("sha256", {})
    try:
        return all(sha256(folder / name) == digests.get(name) for name in (PIXELS, INDEX))
    except OSError:
        return False


def _listed(cache: Path) -> list[tuple[int, float, Path]]:
    """Lists the folders of a cache: bytes, time of the last use, and path of each."""
    found = []
    for facts in cache.glob(f"*/{FACTS}"):
        with suppress(OSError):
            size = int(facts_of(facts.parent).get("bytes", 0))
            found.append((size, facts.stat().st_mtime, facts.parent))
    return found


def _make_room(cache: Path, needed: int, bound: int, folder: Path) -> bool:
    """Removes unused folders to make room for a folder's new content; returns whether there is."""
    for path in cache.glob(f"*{UNFINISHED}"):
        with suppress(OSError):
            if time.time() - path.stat().st_mtime > ABANDONED:
                shutil.rmtree(path, ignore_errors=True)
    others = [each for each in _listed(cache) if each[2] != folder]
    taken = sum(size for size, _, _ in others)
    for size, _, path in sorted(others, key=lambda each: each[1]):
        if taken + needed <= bound:
            break
        if not _is_read(path):
            _log.info("%s is removed, to make room for other decoded images", path)
            shutil.rmtree(path, ignore_errors=True)
            path.with_suffix(".lock").unlink(missing_ok=True)
            taken -= size
    return taken + needed <= bound


def _is_read(folder: Path) -> bool:
    """Whether a process is reading a folder, see `loader.DecodedImages`."""
    try:
        with (folder / INDEX).open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
