"""The folder of decoded images: a folder for each set of images, found by all that decides them.

Runs and comparisons of the same images share one, wherever those lie. It holds `pixels.bin`, the
RGB bytes of every image one after the other, `index.npy`, see `index`, and `facts.json`.
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
    """Finds the images decoded, or decodes them.

    Of several processes that want the same images one decodes them, and the others wait as long as
    it gives signs of life. Where
    they have no room, folders that no process reads are removed, the longest unused first.

    Args:
        paths: the images.
        root: the folder that they lie in.
        given: the cache, which may take half of its disk; None: the user's own, up to `LIMIT`.
        skip: whether an image that cannot be decoded is passed over.

    Returns:
        The folder of the decoded images; None where they have no room.

    Raises:
        UserError: an image cannot be decoded, or the cache that is given cannot be written.
    """
    try:
        cache = Path(given).expanduser() if given is not None else user_cache() / "images"
        cache.mkdir(parents=True, exist_ok=True)
        return _find_or_decode(paths, root, cache, None if given is not None else LIMIT, skip)
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        if given is not None:
            raise UserError(f"decoded_images={given!r} cannot be written: {reason}") from error
        _log.warning("images are decoded anew in every epoch, for none can be kept: %s", reason)
        return None


def facts_of(folder: Path) -> dict[str, Any]:
    """What a folder holds: `identity`, `sha256` of its files, number of `images`, and `bytes`."""
    return read_json(folder / FACTS) or {}


def identify(paths: Sequence[str], root: str | Path) -> dict[str, str]:
    """All that decoded images depend on: the images by name and content, and what decodes them."""
    return {
        "reader": READER,
        "images": fingerprint_files(paths, root),
        "Pillow": PIL.__version__,
        **{name: str(features.version(name)) for name in DECODERS},
    }


def estimate_bytes(paths: Sequence[str], skip: bool = False) -> int:
    """What the images would take when decoded, from the sizes of a sample of them.

    Args:
        paths: of the images.
        skip: whether one of the sample that cannot be read is passed over.

    Raises:
        UserError: one of the sample cannot be read, or with `skip` none.
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
    line = "decoded images would take %.1f GB of %.1f in all: every epoch decodes them anew"
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
    """Writes the images one after the other; returns the place of each, by its path."""
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
    """Whether the images are there, every byte as it was written: a second for a gigabyte."""
    facts = facts_of(folder)
    if facts.get("identity") != identity:
        return False
    digests = facts.get("sha256", {})
    try:
        return all(sha256(folder / name) == digests.get(name) for name in (PIXELS, INDEX))
    except OSError:
        return False


def _listed(cache: Path) -> list[tuple[int, float, Path]]:
    """The folders of a cache: bytes, time of the last use, and path of each."""
    found = []
    for facts in cache.glob(f"*/{FACTS}"):
        with suppress(OSError):
            size = int(facts_of(facts.parent).get("bytes", 0))
            found.append((size, facts.stat().st_mtime, facts.parent))
    return found


def _make_room(cache: Path, needed: int, bound: int, folder: Path) -> bool:
    """Removes what nobody reads, until a folder's new content has room; says whether it has."""
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
    """Whether a process reads a folder now, see `loader.DecodedImages`."""
    try:
        with (folder / INDEX).open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
