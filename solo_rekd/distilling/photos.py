"""Photos without labels, as a host can train on them: an index folder, and its parts.

The one place that knows how an index is made: all else here calls `build_index`, and reads an
index by its length, its paths, `left_out` and `split`.
"""

import json
import random
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from solo_rekd.images.files import ENDINGS, OUTSIDE, list_class_images, list_flat_images
from solo_rekd.utils.errors import UserError, refuse

LEFT_OUT = "{}.left-out.json"  # beside an index: what is no image, by kind


class PhotoIndex(Sequence[str]):
    """The photos of an index folder, in a fixed order.

    Args:
        folder: of links to the photos, as `build_index` makes it.

    Attributes:
        folder: as given.
        left_out: how many files of the sources are no images, by kind.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self._links = [path for path, _ in list_flat_images(self.folder).samples]
        self.left_out: dict[str, int] = json.loads(_left_out(self.folder).read_text())

    def __len__(self) -> int:
        return len(self._links)

    def __getitem__(self, place):  # type: ignore[no-untyped-def]
        """The path of the photo at a place, or the paths of a slice."""
        if isinstance(place, slice):
            return [str(Path(link).readlink()) for link in self._links[place]]
        return str(Path(self._links[place]).readlink())

    def split(self, number: int, seed: int) -> tuple["PhotoIndex", "PhotoIndex"]:
        """Parts the photos by chance; the same number and seed find the same parts again.

        Args:
            number: of photos to hold out, from 1 to one less than there are.
            seed: of the draw.

        Returns:
            The photos held out and the others, each an index in a folder of its own.
        """
        held = set(random.Random(seed).sample(range(len(self)), number))
        parts = []
        for name, wanted in (("held-out", True), ("training", False)):
            folder = self.folder.with_name(f"{self.folder.name}-{name}-{number}-{seed}")
            if not folder.is_dir():
                _link([path for n, path in enumerate(self) if (n in held) == wanted], folder, {})
            parts.append(PhotoIndex(folder))
        return parts[0], parts[1]


def build_index(sources: Sequence[str | Path], folder: str | Path) -> PhotoIndex:
    """Finds photos, and makes an index of them.

    Args:
        sources: folders with anything below them, or text files with a path in each line.
        folder: of the index; one that is there is replaced.

    Returns:
        The index.

    Raises:
        UserError: a source cannot be read, or none holds an image.
    """
    paths: dict[str, None] = {}
    left_out: Counter[str] = Counter()
    for source in map(Path, sources):
        if source.is_dir():
            listing = list_class_images(source, ["."])
            left_out.update(listing.left_out)
            paths |= dict.fromkeys(str(Path(path).absolute()) for path, _ in listing.samples)
        elif source.suffix.lower() == ".txt" and source.is_file():
            lines = source.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
            named = [source.parent / line.strip() for line in lines if line.strip()]
            if missing := [str(path) for path in named if not path.is_file()]:
                raise UserError(f"{source} names {missing[0]}, which is not a file")
            paths |= dict.fromkeys(str(path.absolute()) for path in named)
        else:
            raise refuse("photos", str(source), "a folder, or a .txt file with a path in each line")
    if not paths:
        raise UserError(
            f"there is no photo in {', '.join(map(str, sources))}: {', '.join(ENDINGS)}"
        )
    del left_out[OUTSIDE]
    _link([*paths], Path(folder), left_out)
    return PhotoIndex(folder)


def _link(paths: Sequence[str], folder: Path, left_out: dict[str, int]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for place, path in enumerate(paths):
        (folder / f"{place:08d}{Path(path).suffix}").symlink_to(path)
    _left_out(folder).write_text(json.dumps(left_out))


def _left_out(folder: Path) -> Path:
    return folder.with_name(LEFT_OUT.format(folder.name))
