"""The photos that a run trains on without labels."""

import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from solo_rekd.images.files import list_images, refuse_no_image, report_left_out, report_once
from solo_rekd.images.fingerprint import relative_names
from solo_rekd.images.photos.index import PhotoIndex, is_index
from solo_rekd.images.photos.look import describe, look_at
from solo_rekd.images.photos.sources import list_sources
from solo_rekd.images.threads import in_threads

find = partial(look_at, headers=False)


class Photos(NamedTuple):
    """Where photos lie.

    Attributes:
        root: common folder of all photos.
        names: their paths relative to it.
    """

    root: str
    names: Sequence[str]

    def paths(self) -> list[str]:
        """The path of each."""
        return [os.path.join(self.root, name) for name in self.names]


def find_photos(given: str | Path) -> Photos:
    """Lists the photos that a run is given.

    Args:
        given: an index of photos, a folder with photos at any depth, or a text file of paths, see
            `list_sources`.

    Raises:
        UserError: it is none of these, cannot be read, or holds no photo.
    """
    if is_index(given):
        index = PhotoIndex(given)
        return Photos(index.root, index.names)
    if os.path.isfile(given):
        root, listed, left_out = list_sources([given])
        problems = [look.problem for look in in_threads(find, listed)]
        paths, absent = [], []
        for path, problem in zip(listed, problems, strict=True):
            if problem is None:
                paths.append(path)
            else:
                absent.append((path, problem))
        if absent:
            report_once(given, describe(len(listed), absent))
    else:
        root, left_out = str(given), Counter()
        paths = list_images(root, left_out)
    if not paths:
        raise refuse_no_image(given)
    report_left_out(given, len(paths), left_out)
    return Photos(root, relative_names(paths, root))
