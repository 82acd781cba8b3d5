"""Findings, and how they are printed."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from solo_rekd.utils.errors import one_line

OK, NOTE, TROUBLE = "ok", "note", "trouble"
PIP = f"{shlex.quote(sys.executable)} -m pip install"


class Finding(NamedTuple):
    """The result of one check.

    Attributes:
        level: `ok`, `note` or `trouble`.
        subject: what was checked.
        text: what was found.
        fix: command that fixes the trouble, if there is any.
    """

    level: str
    subject: str
    text: str
    fix: str = ""


def install(*packages: str) -> str:
    """Returns the command that installs packages into this environment."""
    return " ".join([PIP, *map(shlex.quote, packages)])


def as_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Yields a line per finding, and one that counts the troubles."""
    width = max(len(finding.subject) for finding in findings)
    for level, subject, text, fix in findings:
        line = f"{level:<8} {subject:<{width}}  {one_line(text)}"
        yield f"{line}; to fix it: {fix}" if fix else line
    troubles = sum(finding.level == TROUBLE for finding in findings)
    yield f"{troubles} trouble{'' if troubles == 1 else 's'}"
