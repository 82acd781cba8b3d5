"""Links some images of every class of an image folder into another one.

Usage, the first 400 images of every class:
    python scripts/take_images.py DATA/train SMALL/train --number 400
"""

import argparse
from pathlib import Path


def main() -> None:
    """Links the images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="folder of class folders")
    parser.add_argument("target", type=Path, help="folder to make")
    parser.add_argument("--start", type=int, default=0, help="images of a class to leave out first")
    parser.add_argument("--number", type=int, help="images of a class. Default: all")
    args = parser.parse_args()
    for folder in sorted(path for path in args.source.resolve().iterdir() if path.is_dir()):
        target = args.target / folder.name
        target.mkdir(parents=True)
        for image in sorted(folder.iterdir())[args.start :][: args.number]:
            (target / image.name).symlink_to(image)


if __name__ == "__main__":
    main()
