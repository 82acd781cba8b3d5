"""The tables of a page: they stand between two comments, and the text around them is by hand."""

import re
from collections.abc import Sequence
from pathlib import Path


def find_place(page: Path, name: str) -> tuple[int, int]:
    """Finds the text between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->` in a page.

    Args:
        page: a Markdown file.
        name: of the place.

    Returns:
        Where it begins, and where it ends.

    Raises:
        SystemExit: the page has not exactly one such place.
    """
    begin, end = f"<!-- bench:{name} -->\n", f"<!-- /bench:{name} -->"
    pattern = re.compile(f"{re.escape(begin)}(.*?){re.escape(end)}", re.DOTALL)
    found = list(pattern.finditer(page.read_text(encoding="utf-8")))
    if len(found) != 1:
        marks = f"{begin.strip()} and {end}"
        raise SystemExit(f"{page}: there are {len(found)} places between {marks}, expected one")
    return found[0].span(1)


def write_between(page: Path, name: str, text: str) -> None:
    """Puts a text in a place of a page, see `find_place`; what stood there goes."""
    begin, end = find_place(page, name)
    before = page.read_text(encoding="utf-8")
    page.write_text(f"{before[:begin]}{text.strip()}\n{before[end:]}", encoding="utf-8")


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table; a small number with a fraction gets one significant digit."""
    lines = [head, ["---"] * len(head), *([shown(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def shown(cell: object) -> str:
    """A cell as text; None is left empty."""
    if cell is None:
        return ""
    if not isinstance(cell, float):
        return f"{cell:,}" if isinstance(cell, int) else str(cell)
    if cell == 0 or 0.01 <= abs(cell) < 100:
        return f"{cell:.2f}"
    if abs(cell) >= 100:
        return f"{cell:,.0f}"
    return f"{float(f'{cell:.1g}'):.9f}".rstrip("0")
