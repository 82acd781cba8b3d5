"""An index of photos: a folder that lists the paths of any number of photos.

It holds `photo_index.json` and a file of names, see `names.py`, which is named by its own digest
and written first. So a half-written index is invalid, and one that is replaced can still be read.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, overload

import numpy as np

from solo_rekd.images.photos.names import Names, to_bytes
from solo_rekd.utils.errors import UserError, refuse
from solo_rekd.utils.files import UNFINISHED, read_json, replacing, write_json

FACTS = "photo_index.json"
FORMAT = 1
NAMES = "photos-{}.bin"
LEFT_OUT = "left_out.csv"  # the photos that are left out of it
PARTS = "photo_index_parts"  # the folder of an index in which its parts lie
HELD_OUT, TRAINING = "held_out", "training"


def is_index(path: str | Path) -> bool:
    """Whether a path is that of an index of photos."""
    return os.path.isfile(os.path.join(path, FACTS))


def holds_index_alone(folder: Path) -> bool:
    """Whether a folder holds what is of an index of photos, written to its end or not, and no more.

    Args:
        folder: one that is there.
    """
    own = (FACTS, PARTS, LEFT_OUT)
    return folder.is_dir() and all(
        path.name in own or path.match(NAMES.format("*")) or path.name.endswith(UNFINISHED)
        for path in folder.iterdir()
    )


class PhotoIndex(Sequence[str]):
    """The paths of photos, mapped into memory: a million open in a millisecond.

    A copy in another process, even in a spawned one, maps the same file.

    Args:
        folder: folder that `build_index` wrote.
        fingerprint: fingerprint that the index has to have; None: any.

    Attributes:
        folder: see above.
        root: common folder of all photos.
        names: their paths relative to `root`.
        sources: sources that the user gave.
        left_out: number of files left out, by kind.
        fingerprint: SHA-256 of `root` and `names` in hexadecimal, the same for indexes of the same
            paths. It does not depend on the content of the photos.

    Raises:
        UserError: the folder holds no index, or a different one than was asked for.
    """

    def __init__(self, folder: str | Path, fingerprint: str | None = None) -> None:
        self.folder = Path(folder)
        facts = read_json(self.folder / FACTS) if self.folder.is_dir() else None
        try:
            if facts is None or facts["format"] != FORMAT:
                raise ValueError(f"no {FACTS} of format {FORMAT}")
            self.root: str = facts["root"]
            self.sources: list[str] = facts["sources"]
            self.left_out: Mapping[str, int] = facts["left_out"]
            self.fingerprint: str = facts["fingerprint"]
            self.names = Names(self.folder / _file_of(self.fingerprint), facts["photos"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{folder} is not a readable index of photos: build it again ({error})"
            ) from error
        if fingerprint not in (None, self.fingerprint):
            raise UserError(f"{folder} holds a different index of photos than when this run began")

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        """The path of the photo at a place, or the list of those in a part."""
        if isinstance(place, slice):
            return [os.path.join(self.root, name) for name in self.names[place]]
        return os.path.join(self.root, self.names[place])

    def __iter__(self) -> Iterator[str]:
        return (os.path.join(self.root, name) for name in self.names)

    def __reduce__(self) -> tuple:
        return PhotoIndex, (self.folder, self.fingerprint)

    def split(self, number: int, seed: int) -> tuple["PhotoIndex", "PhotoIndex"]:
        """Divides the photos into two parts, each an index of its own in this one's folder.

        The same number and seed find the same parts again, as long as this index is the same.

        Args:
            number: number of photos to hold out, from 1 up to one less than there are.
            seed: seed of the choice.

        Returns:
            The photos that are held out, and those that are left for training, each in the order
            of this index.

        Raises:
            UserError: `number` is beyond that.
        """
        if not 1 <= number < len(self):
            limit = f"a number from 1 to {len(self) - 1}: at least one photo is left for training"
            raise refuse("held out", number, limit)
        places = np.random.default_rng(seed).permutation(len(self))
        chosen = {HELD_OUT: np.sort(places[:number]), TRAINING: np.sort(places[number:])}
        held_out, training = (
            self._part(f"{name}-{number}-{seed}", chosen[name].tolist()) for name in chosen
        )
        return held_out, training

    def _part(self, name: str, places: Sequence[int]) -> "PhotoIndex":
        folder = self.folder / PARTS / name
        origin = {"part_of": self.fingerprint}
        stored = read_json(folder / FACTS) or {}
        if stored.get("part_of") == self.fingerprint:
            with suppress(UserError):  # damaged: it is written again
                return PhotoIndex(folder)
        names = [self.names[place] for place in places]
        return write_index(folder, self.root, names, self.sources, {}, origin)


def write_index(
    folder: Path,
    root: str,
    names: Sequence[str],
    sources: Sequence[str],
    left_out: Mapping[str, int],
    more: Mapping[str, Any],
) -> PhotoIndex:
    """Writes an index, replacing an existing one.

    Args:
        folder: folder of the index; it may hold other files.
        root: common folder of the photos.
        names: names of the photos, relative to `root`.
        sources: sources that the user gave.
        left_out: number of files left out, by kind.
        more: further facts to keep.

    Raises:
        UserError: the folder cannot be written to.
    """
    content = to_bytes(names)
    fingerprint = hashlib.sha256(os.fsencode(root) + b"\0" + content).hexdigest()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(folder / _file_of(fingerprint)) as unfinished:
            unfinished.write_bytes(content)
        facts = {
            "format": FORMAT,
            "root": root,
            "sources": list(sources),
            "photos": len(names),
            "left_out": dict(left_out),
            "fingerprint": fingerprint,
            **more,
        }
        write_json(folder / FACTS, facts)
        for path in folder.glob(NAMES.format("*")):  # of the index that was here before
            if path.name != _file_of(fingerprint):
                path.unlink(missing_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise UserError(f"{folder} cannot hold an index of photos: {reason}") from error
    return PhotoIndex(folder)


def _file_of(fingerprint: str) -> str:
    return NAMES.format(fingerprint[:16])
