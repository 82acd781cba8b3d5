"""Mistakes that people make and what they are told, from `mistakes.yaml`: for tests and a page."""

import os
import re
import shlex
import shutil
import struct
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from command import command
from PIL import Image

FILE = Path(__file__).with_suffix(".yaml")
HOSTS = ("classic", "main")
ANY = "..."  # in what is said: any text, such as a list of names that grows
ERROR = "solo-rekd: error: "
PAGE = Path(__file__).parents[2] / "docs" / "mistakes.md"
BEGIN, END = "<!-- mistakes -->", "<!-- /mistakes -->"


@dataclass(frozen=True)
class Mistake:
    """A mistake.

    Attributes:
        group: of the page.
        what: went wrong, in words.
        typed: the command line; `...` stands for what `bases` has after the command's name.
        said: the line after `solo-rekd: error: `, in which `ANY` stands for any text; by host
            where the hosts say different things.
        base: the command line that `typed` shortens.
        before: what is done to the folder in which the command runs: steps of `STEPS`.
        without: packages that are not installed then.
        hosts: on which it is a mistake.
        slow: whether it takes seconds.
    """

    group: str
    what: str
    typed: str
    said: str | dict[str, str]
    base: str = ""
    before: tuple[tuple[str, ...], ...] = ()
    without: tuple[str, ...] = ()
    hosts: tuple[str, ...] = HOSTS
    slow: bool = False

    @property
    def words(self) -> list[str]:
        """The whole command line."""
        _, dots, more = self.typed.partition(" ...")
        return shlex.split(self.base + more if dots else self.typed)

    @property
    def lines(self) -> list[str]:
        """What is said on one host or the other."""
        return [self.said] if isinstance(self.said, str) else [*self.said.values()]

    def is_said(self, line: str, host: str) -> bool:
        """Whether a line is what is to be said on a host."""
        said = self.said if isinstance(self.said, str) else self.said[host]
        pattern = ".+".join(re.escape(part) for part in (ERROR + said).split(ANY))
        return re.fullmatch(pattern, line) is not None

    def prepare(self, folder: Path) -> None:
        """Does to a folder of `write_folder` what comes before the command."""
        for verb, *names in self.before:
            STEPS[verb](*(folder / name for name in names))


def read_bases() -> dict[str, str]:
    """What each command that can be shortened is typed with."""
    return yaml.safe_load(FILE.read_text(encoding="utf-8"))["bases"]


def read_mistakes() -> list[Mistake]:
    """All mistakes, in the order of the page."""
    content = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return [
        Mistake(
            group,
            base=content["bases"].get(entry["typed"].partition(" ")[0], ""),
            before=tuple(map(tuple, entry.pop("before", ()))),
            without=tuple(entry.pop("without", ())),
            hosts=tuple(entry.pop("hosts", HOSTS)),
            **entry,
        )
        for group, entries in content["mistakes"].items()
        for entry in entries
    ]


def table() -> str:
    """The mistakes as they stand in the page, a table for each group."""
    lines: list[str] = []
    group = None
    for mistake in read_mistakes():
        if mistake.group != group:
            group = mistake.group
            lines += ["", f"## {group}", "", "| mistake | command | message |", "|---|---|---|"]
        said = mistake.said if isinstance(mistake.said, dict) else {"": mistake.said}
        told = "<br>".join(f"{host + ': ' * bool(host)}{code(line)}" for host, line in said.items())
        only = "" if mistake.hosts == HOSTS else f" ({' and '.join(mistake.hosts)})"
        cells = (mistake.what + only, f"`{mistake.typed}`", told)
        lines.append(f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |")
    return "\n".join(lines).strip() + "\n"


def code(line: str) -> str:
    """A line as code of Markdown, which may have a backtick in it."""
    return f"`` {line} ``" if "`" in line else f"`{line}`"


def page(text: str) -> str:
    """The text of the page with today's tables."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + "\n\n" + table() + "\n" + END + rest.partition(END)[2]


def of_host(host: str) -> list[Any]:
    """The mistakes on a host, as pytest takes them."""
    return [
        pytest.param(
            mistake,
            marks=[pytest.mark.slow] if mistake.slow else [],
            id=f"{mistake.group}: {mistake.what}: {mistake.typed.partition(' ')[0]}",
        )
        for mistake in read_mistakes()
        if host in mistake.hosts
    ]


def of_every_command(host: str) -> list[Any]:
    """The first mistake of each command on a host, as pytest takes them."""
    first: dict[str, Any] = {}
    for each in of_host(host):
        first.setdefault(each.values[0].words[0], each)
    return [*first.values()]


def make_ready(folder: Path) -> Path:
    """Fills a folder in which every command of `bases` works, its student pretrained there."""
    write_images(folder / "images")
    before = os.getcwd()
    os.chdir(folder)
    try:
        command(*shlex.split(read_bases()["pretrain"]))
    finally:
        os.chdir(before)
    (checkpoint,) = folder.glob("out/rekd/*/*.ckpt")
    checkpoint.rename(folder / "student.ckpt")
    shutil.rmtree(folder / "out")
    return folder


def check(
    mistake: Mistake,
    host: str,
    ready: Path,
    solo: Callable[..., tuple[int, str, str]],
    folder: Path,
    patch: pytest.MonkeyPatch,
    shown: bool = False,
) -> None:
    """Makes a mistake, and sees what is said and left.

    Args:
        mistake: that is made.
        host: the solo-learn that is there.
        ready: a folder of `make_ready`.
        solo: runs a command line: exit code, standard output, standard error.
        folder: gets a copy of `ready`.
        patch: of the test.
        shown: whether a traceback is asked for.
    """
    if "GPU" in mistake.what and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    shutil.copytree(ready, folder)
    mistake.prepare(folder)
    patch.chdir(folder)
    for package in mistake.without:
        patch.setitem(sys.modules, package, None)  # an import fails, and none is found
    before = contents(folder)
    patch.setenv("SOLO_REKD_TRACEBACK", str(int(shown)))
    code, _, said = solo(*mistake.words)
    *notes, last = said.splitlines()
    assert mistake.is_said(last, host), last
    assert code == 2
    assert any("Traceback" in line for line in notes) is shown
    assert not any(line.startswith(ERROR) for line in notes)
    after = contents(folder)
    changed = {name for name in after.keys() | before if after.get(name) != before.get(name)}
    assert not changed, changed


def contents(folder: Path) -> dict[str, bytes]:
    """What lies in a folder: each name, with the bytes of a file."""
    paths = sorted(folder.rglob("*"))
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in paths}


def noise(path: Path, seed: int) -> None:
    """Writes an image of noise, 32 px wide and high."""
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def write_images(folder: Path) -> None:
    """Writes the folders `train` and `val`, of two classes each."""
    for split, number in (("train", 16), ("val", 4)):
        for name in "ab":
            (place := folder / split / name).mkdir(parents=True)
            for seed in range(number):
                noise(place / f"{seed:02d}.png", ord(name) * 100 + seed)


def cut(path: Path) -> None:
    """Leaves the first half of a file."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def bomb(path: Path) -> None:
    """Writes a PNG of some bytes that says it is of 50,000 x 50,000 px."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = chunk(b"IHDR", struct.pack(">II5B", 50_000, 50_000, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


def keep_three(folder: Path) -> None:
    """Leaves three images of each class."""
    for place in folder.iterdir():
        for path in sorted(place.iterdir())[3:]:
            path.unlink()


STEPS: dict[str, Callable[..., object]] = {
    "cut": cut,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("<html>not found</html>"),
    "bomb": bomb,
    "grey of 16 bits": lambda path: Image.fromarray(np.full((32, 32), 30_000, np.uint16)).save(
        path
    ),
    "make folder": lambda path: path.mkdir(parents=True),
    "remove folder": shutil.rmtree,
    "rename": Path.rename,
    "keep three of each class": keep_three,
}

if __name__ == "__main__":  # writes the tables of the page
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
