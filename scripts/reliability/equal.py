"""What a resumed run has otherwise than one that was never stopped, value by value."""

import csv
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reliability.whole import HOSTS_OWN, READERS
from solo_rekd.utils.files import UNFINISHED

# of the time and the memory that a run took, and what follows from where it was resumed
TIMES = (
    *("seconds", "images_per_second", "images/s", "waiting", "minutes", "latency_ms"),
    *("peak_memory_bytes", "peak_gpu_bytes"),
)
# the file that a part resumed from, which the digest of the next file covers, and the part's name
RESUMED = ("resume_from_checkpoint", "checkpoint_sha256", "wandb_run_id")
# Lightning 1.9's count of validations, which it begins anew when a run resumes, and never reads
RECOUNTED = ".fit_loop.epoch_loop.val_loop.dataloader_progress.total."
# what is written for people, out of the values that are compared here, or holds times alone
NOT_COMPARED = (*HOSTS_OWN, "log.txt", "report.html", "README.md", ".lock", ".job.lock")
LOGS = "events.out.tfevents."  # of the host's own logger, a file for each part of a training
# a checkpoint in the folder of a part of a training; the plug-in may have given that an ending
PART = re.compile(r"/([\w-]+?)(?:-[0-9a-f]{8})?/([^/\s]*?)-\1-ep=")
SHOWN = 60  # characters of a value


class Comparison:
    """Compares two folders of the same command.

    Args:
        whole: folder of the command that was never stopped.
        resumed: folder of the one that was killed.
    """

    def __init__(self, whole: Path, resumed: Path) -> None:
        self.whole, self.resumed = whole, resumed
        self.roots = (str(whole), str(resumed))

    def differences(self, kept: Collection[str] = ()) -> list[str]:
        """Compares every file.

        Args:
            kept: folders, relative to those two, that both share and that need no look.

        Returns:
            Each difference in a line; of a file that one side lacks, its name.
        """
        left, right = (self._files(folder, kept) for folder in (self.whole, self.resumed))
        found = [f"{name} is missing" for name in left.keys() - right.keys()]
        found += [f"{name} is left over" for name in right.keys() - left.keys()]
        for name in sorted(left.keys() & right.keys()):
            values = (self._values(path) for path in (left[name], right[name]))
            found += [f"{name}: {line}" for line in unequal(*values)]
        return sorted(found)

    def _files(self, folder: Path, kept: Collection[str]) -> dict[str, Path]:
        found = {}
        for path in folder.rglob("*"):
            name = str(path.relative_to(folder))
            shared = any(name.startswith(f"{each}/") for each in kept)
            other = path.name in NOT_COMPARED or path.name.startswith(LOGS)
            if path.is_file() and not other and not shared:
                # a file that is being written has a name of its own each time
                name = UNFINISHED if name.endswith(UNFINISHED) else name
                found[self._neutral(name)] = path
        return found

    def _neutral(self, text: str) -> str:
        for root in self.roots:
            text = text.replace(root, "OUT")
        return PART.sub(r"/PART/\2-PART-ep=", text)

    def _values(self, path: Path) -> dict[str, Any]:
        if path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8") as file:
                content: Any = list(csv.DictReader(file))
        elif reader := READERS.get(path.suffix):
            content = reader(path)
        else:
            content = path.read_bytes()
        return dict(self._flat(content, ""))

    def _flat(self, value: Any, name: str) -> Iterator[tuple[str, Any]]:
        """The values within a value, by the path to each, without those of time."""
        if isinstance(value, Mapping):
            for key, each in value.items():
                if not is_apart(str(key)):
                    # one part or several: their machines and versions are what counts
                    each = _distinct(each) if key == "parts" else each
                    yield from self._flat(each, f"{name}.{self._neutral(str(key))}")
        elif isinstance(value, list | tuple):
            yield f"{name}.length", len(value)
            for place, each in enumerate(value):
                yield from self._flat(each, f"{name}.{place}")
        elif RECOUNTED not in name:
            yield name, self._neutral(value) if isinstance(value, str) else value


def is_apart(key: str) -> bool:
    """Whether a value is of what a run took or of where it resumed, by its name or a column's."""
    name = key.rpartition(".")[2]
    return name in (*TIMES, *RESUMED) or name.endswith("seconds")


def unequal(whole: Mapping[str, Any], resumed: Mapping[str, Any]) -> list[str]:
    """The names whose values are not the same bits on both sides, a line each."""
    found = []
    for name in {**whole, **resumed}:
        if name not in whole or name not in resumed:
            found.append(f"{name[1:]} is {'missing' if name in whole else 'new'}")
        elif not same(whole[name], resumed[name]):
            values = (str(side[name]).replace("\n", " ")[:SHOWN] for side in (resumed, whole))
            found.append(f"{name[1:]} is {' and not '.join(values)}")
    return found


def same(left: Any, right: Any) -> bool:
    """Whether two values are the same to the last bit; a NaN is the same as a NaN."""
    if type(left) is not type(right):
        return False
    if isinstance(left, torch.Tensor):
        left, right = left.detach(), right.detach()
        return (
            left.dtype == right.dtype
            and left.shape == right.shape
            and bits(left).equal(bits(right))
        )
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and left.shape == right.shape and _bytes(left, right)
    return bool(left == right or (left != left and right != right))


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of a tensor."""
    return tensor.contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else tensor


def _bytes(left: np.ndarray, right: np.ndarray) -> bool:
    return left.tobytes() == right.tobytes()


def _distinct(parts: Sequence[Any]) -> list[Any]:
    return [each for place, each in enumerate(parts) if each not in parts[:place]]
