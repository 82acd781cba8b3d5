"""Images in class folders that cannot be decoded, which a run leaves out where that is asked for.

Every image is decoded once before the run. The content of a file alone decides: what the system
cannot read now, and pixels of no known scale, are refused as without this. So two runs on the same
files see the same images, and their digest is that of the images that are left.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from solo_rekd.images.decoded.cache import identify
from solo_rekd.images.fingerprint import relative_names
from solo_rekd.images.read import load_rgb, of_content
from solo_rekd.images.threads import in_threads
from solo_rekd.utils.errors import UserError, one_line
from solo_rekd.utils.files import read_json, user_cache, write_json

# for every process that this one starts, by whatever launcher, and for unedited scripts
VARIABLE = "SOLO_REKD_SKIP_BROKEN"
NAMED = 10  # broken images that a line names


def skip_broken() -> None:
    """Makes this process, and those that it starts, leave broken images of class folders out."""
    os.environ[VARIABLE] = "1"


def skips_broken() -> bool:
    """Whether broken images are left out; else they are refused where they are read."""
    return os.environ.get(VARIABLE, "0") not in ("", "0")


def find_broken(paths: Sequence[str], root: str | Path) -> dict[str, str]:
    """Decodes images and says which are broken, and why.

    What was found is kept in the user's folder for caches, for the same images and decoders.

    Args:
        paths: of the images.
        root: the folder that they lie in.

    Returns:
        The decoder's reason by the path of each broken image, in the order of `paths`.

    Raises:
        UserError: the system cannot read an image, or it has pixels of no known scale.
    """
    identity = identify(paths, root)
    kept = _file(identity)
    known = None if kept is None else read_json(kept)
    if not isinstance(known, dict) or known.get("identity") != identity:
        names = relative_names(paths, root)
        reasons = in_threads(undecodable, paths, "looking for broken images")
        broken = {name: each for name, each in zip(names, reasons, strict=True) if each is not None}
        known = {"identity": identity, "broken": broken}
        if kept is not None:
            with suppress(OSError):  # the next run looks again
                kept.parent.mkdir(parents=True, exist_ok=True)
                write_json(kept, known)
    return {os.path.join(root, name): reason for name, reason in known["broken"].items()}


def undecodable(path: str) -> str | None:
    """Decodes an image, and says why it cannot be decoded; None: it can.

    Raises:
        UserError: what is wrong is not that it cannot be decoded.
    """
    try:
        load_rgb(path)
    except UserError as error:
        if not of_content(error):
            raise
        return str(error).removeprefix(one_line(f"{path} cannot be decoded: "))
    return None


def describe(number: int, broken: dict[str, str]) -> str:
    """Says in one line how many images are broken, and names the first of them.

    Args:
        number: of all images.
        broken: the reason by the path of each.
    """
    named = ", ".join(f"{path} ({reason})" for path, reason in [*broken.items()][:NAMED])
    more = f" and {len(broken) - NAMED} others" if len(broken) > NAMED else ""
    return one_line(f"{len(broken)} of {number} images are broken and left out: {named}{more}")


def _file(identity: dict[str, str]) -> Path | None:
    """Where it is kept what is known of images; None where the user has no folder."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    try:
        return user_cache() / "broken" / f"{digest[:32]}.json"
    except RuntimeError:
        return None
