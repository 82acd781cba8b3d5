"""Reads damaged and hostile checkpoints, and says what became of each.

Either files that it makes by damaging whole ones, or those of a folder. A file may be read or be
refused in one line. It is a fault where anything else happens: another error, a function that the
interpreter's audit hooks see, 10 s of the processor or 256 MB for a file of some kB, or memory that
the file does not own behind a tensor.

Usage, for 20,000 damaged files of seed 0 or as many as 300 s allow, and for the files of a folder:
    python scripts/fuzz_checkpoints.py --seed 0 --count 20000 --seconds 300
    python scripts/fuzz_checkpoints.py --files FOLDER
Exit code: 0, or 1 where there was a fault; each file with a fault is kept, and named.
"""

import argparse
import codecs
import collections
import io
import json
import os
import pathlib
import pickletools
import random
import resource
import sys
import tempfile
import time
import traceback
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as save_safetensors

from solo_rekd.checkpoints.read import read_file
from solo_rekd.utils.errors import UserError

# Most that a file may take, and its line have. What is bounded took 1.2 s on a two-core EPYC.
SECONDS, MEMORY, LINE = 10.0, 256 << 20, 1000
ADDRESSES = 1 << 30  # bytes that all files together may map, touched or not
# Python imports a codec when it is first used: pickletools', zipfile's and our own
CODECS = ("ascii", "cp437", "latin-1", "raw_unicode_escape", "unicode_escape", "utf-8")
NAMES = [  # functions that run what they are given
    "os system",
    "posix system",
    "builtins exec",
    "builtins eval",
    "builtins getattr",
    "subprocess Popen",
    "torch.hub load",
    "torch.storage _load_from_bytes",
    "operator methodcaller",
]
HARMLESS = ("builtins.id", "object.__getattr__", "sys._getframe")
TIMES = (1, 1, 1, 2, 4)  # that a file is damaged
OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]


@dataclass(frozen=True)
class Outcome:
    """What became of a file.

    Attributes:
        name: of the file.
        result: `read`, `refused`, or `fault`.
        text: what was refused or went wrong, in one line; empty of a file that was read.
        seconds: of the processor that it took.
        tensors: how many it has.
    """

    name: str
    result: str
    text: str
    seconds: float
    tensors: int


class Watch:
    """Notes what the interpreter does while a file is read; its hook stays for good."""

    def __init__(self) -> None:
        self.events: list[str] | None = None
        sys.addaudithook(self._hook)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self.events is None or event in HARMLESS:
            return
        is_reading = event == "open" and args[1] in ("r", "rb", None) and not args[2] & os.O_WRONLY
        if not is_reading:
            self.events.append(f"{event} {args}"[:200])


def judge(path: Path, watch: Watch) -> Outcome:
    """Reads a file under watch, and every value of its tensors."""
    started, memory = time.process_time(), _peak()
    watch.events = events = []
    try:
        content = read_file(path).content
        result, text = "read", ""
    except UserError as error:
        content, result, text = {}, "refused", str(error)
    except BaseException:
        content, result, text = {}, "fault", traceback.format_exc(limit=-3)
    watch.events = None
    seconds = time.process_time() - started
    tensors = []
    try:
        tensors = [tensor.clone() for tensor in _tensors(content)]
    except Exception:
        result, text = "fault", traceback.format_exc(limit=-3)
    if events:
        result, text = "fault", f"ran: {events[:3]}"
    elif result == "refused" and ("\n" in text or len(text) > LINE + len(str(path))):
        result, text = "fault", f"not one line: {text!r}"
    elif seconds > SECONDS:
        result, text = "fault", f"took {seconds:.1f} s"
    elif _peak() - memory > MEMORY:
        result, text = "fault", f"took {(_peak() - memory) >> 20} MB"
    return Outcome(path.name, result, text, round(seconds, 4), len(tensors))


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _limit_addresses() -> None:
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (mapped + ADDRESSES, hard))


def _tensors(content: Any) -> Iterator[torch.Tensor]:
    if isinstance(content, torch.Tensor):
        yield content
    elif isinstance(content, dict | list | tuple | set):
        for part in content.values() if isinstance(content, dict) else content:
            yield from _tensors(part)


def pack(pickle: bytes, members: dict[str, bytes] | None = None, folder: str = "archive") -> bytes:
    """A zip as `torch.save` writes it, of a pickle and of storages by their keys."""
    named = {"data.pkl": pickle, "byteorder": b"little", "version": b"3\n"}
    named |= {f"data/{key}": content for key, content in (members or {}).items()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in named.items():
            archive.writestr(f"{folder}/{name}", content)
    return buffer.getvalue()


def unpack(content: bytes) -> tuple[bytes, dict[str, bytes]]:
    """Pickle and storages of a zip of `torch.save`."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        held = {name.split("/", 1)[1]: archive.read(name) for name in archive.namelist()}
    storages = {name.removeprefix("data/"): held[name] for name in held if name.startswith("data/")}
    return held["data.pkl"], storages


def whole_files() -> list[bytes]:
    """Checkpoints of every kind, each of some kB."""
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(12, 8, generator=generator)
    state = collections.OrderedDict(
        weight=base, view=base.t()[2:5, ::2], row=base[3], half=base.half(), flag=base > 0
    )
    state["none"] = torch.empty(0, 4)
    state["wide"] = torch.ones(4, dtype=torch.uint16)
    extra = {
        "path": pathlib.PurePosixPath("a/b"),
        "rate": np.float64(0.1),
        "array": np.arange(6).reshape(2, 3),
        "groups": collections.defaultdict(list, {"a": [1, (2, 3)]}),
        "args": argparse.Namespace(lr=0.1, names={"a", "b"}),
        "parameter": torch.nn.Parameter(torch.ones(2)),
    }
    files = [save_safetensors({"a": base, "b": base.half()}, {"note": "x"})]
    for content in ({"state_dict": state}, {"state_dict": state, "extra": extra}):
        for is_zip in (True, False):
            for protocol in (2, 4):
                buffer = io.BytesIO()
                torch.save(
                    content,
                    buffer,
                    pickle_protocol=protocol,
                    _use_new_zipfile_serialization=is_zip,
                )
                files.append(buffer.getvalue())
    return files


def damage(rng: random.Random, files: list[bytes]) -> bytes:
    """One file, damaged a few times, where it is a zip often in its pickle alone."""
    content = rng.choice(files)
    if content.startswith(b"PK") and rng.random() < 0.7:
        pickle, storages = unpack(content)
        for _ in range(rng.choice(TIMES)):
            pickle = rng.choice(DAMAGES)(rng, pickle)
        if rng.random() < 0.2:
            storages = {key: rng.choice(DAMAGES)(rng, held) for key, held in storages.items()}
        return pack(pickle, storages)
    for _ in range(rng.choice(TIMES)):
        content = rng.choice(DAMAGES)(rng, content)
    return content


def _cut(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randint(0, len(content))]


def _flip(rng: random.Random, content: bytes) -> bytes:
    damaged = bytearray(content)
    for _ in range(rng.randint(1, 8) if content else 0):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _overwrite(rng: random.Random, content: bytes) -> bytes:
    at = rng.randint(0, len(content))
    new = rng.choice([b"\xff" * rng.randint(1, 9), b"\0" * rng.randint(1, 9), rng.randbytes(4)])
    return content[:at] + new + content[at + len(new) :]


def _remove(rng: random.Random, content: bytes) -> bytes:
    at = rng.randint(0, len(content))
    return content[:at] + content[at + rng.randint(1, 64) :]


def _repeat(rng: random.Random, content: bytes) -> bytes:
    at, size = rng.randint(0, len(content)), rng.randint(1, 64)
    return content[:at] + content[at : at + size] * rng.randint(2, 50) + content[at:]


def _name(rng: random.Random, content: bytes) -> bytes:
    """A name of the file becomes that of a function that runs what it is given."""
    places = [at for at in range(len(content)) if content[at : at + 1] in (b"c", b"\x93", b"R")]
    if not places:
        return content
    at = rng.choice(places)
    called = b"c" + rng.choice(NAMES).replace(" ", "\n").encode() + b"\n"
    return content[:at] + called + rng.choice([b"", b")R", b"X\x04\0\0\0true\x85R"]) + content[at:]


def _opcode(rng: random.Random, content: bytes) -> bytes:
    at = rng.randint(0, len(content))
    return content[:at] + rng.choice(OPCODES) + content[at + rng.randint(0, 1) :]


DAMAGES: list[Callable[[random.Random, bytes], bytes]] = [
    *(_cut, _flip, _overwrite, _remove, _repeat, _name, _opcode)
]


def main(argv: list[str] | None = None) -> int:
    """Prints an outcome a line as JSON with `--files`, else the faults and the sums."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--files", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    args = parser.parse_args(argv)
    watch = Watch()
    whole = whole_files()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file.pth")
        for codec in CODECS:
            codecs.lookup(codec)
        for content in whole:
            path.write_bytes(content)
            assert read_file(path).content
        _limit_addresses()
        if args.files:
            outcomes = [judge(each, watch) for each in sorted(args.files.iterdir())]
            print(*(json.dumps(asdict(each)) for each in outcomes), sep="\n")
            return int(any(each.result == "fault" for each in outcomes))
        rng, sums = random.Random(args.seed), collections.Counter[str]()
        until, longest = time.monotonic() + args.seconds, 0.0
        while sums.total() < args.count and time.monotonic() < until:
            path.write_bytes(damage(rng, whole))
            outcome = judge(path, watch)
            sums[outcome.result] += 1
            longest = max(longest, outcome.seconds)
            if outcome.result == "fault":
                kept = Path(f"fault-{args.seed}-{sums.total()}.pth")
                kept.write_bytes(path.read_bytes())
                print(f"{kept}: {outcome.text}")
    print(
        f"seed {args.seed}: {sums.total()} files, {sums['read']} read, {sums['refused']} refused, "
        f"{sums['fault']} faults; at most {longest:.2f} s a file and {_peak() >> 20} MB in all"
    )
    return int(sums["fault"] > 0)


if __name__ == "__main__":
    sys.exit(main())
