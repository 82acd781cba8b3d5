"""A folder of photos without labels as people have them, for trainings of both hosts."""

import os
import shutil
from pathlib import Path

from solo_rekd.images.photos import build_index

BROKEN = "2020/cut.png"
NUMBER = 25  # of the photos, the broken one among them


def write_photos(source: Path, root: Path) -> dict[str, Path]:
    """Writes photos in nested folders, one of them cut off, beside what is no photo.

    Args:
        source: a folder of 24 images or more, of 32 px.
        root: gets the folders.

    Returns:
        What a run may be given: their `folder`, an `index`, a `list`, and a `part` of the index.
    """
    photos = root / "photos"
    for number, path in enumerate(sorted(source.rglob("*.png"))[: NUMBER - 1]):
        target = photos / ("", "2019/may", "2020")[number % 3] / f"{number}.PNG"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    (photos / BROKEN).write_bytes((photos / "0.PNG").read_bytes()[:-40])
    (photos / ".DS_Store").touch()
    (photos / "2020" / "notes.md").touch()
    (photos / "2019" / "back").symlink_to(photos, target_is_directory=True)
    (root / "list.txt").write_text("# all\n\nphotos/2019\nphotos/2020\nphotos/gone.png\n")
    names = sorted(os.path.relpath(path, root) for path in photos.glob("*.PNG"))
    with (root / "list.txt").open("a") as file:
        file.write("\n".join(names))
    index = build_index([photos], root / "index")
    return {
        "folder": photos,
        "index": index.folder,
        "list": root / "list.txt",
        "part": index.split(1, 0)[1].folder,
    }
