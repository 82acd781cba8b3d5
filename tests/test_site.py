"""The site builds without a warning, and its pages load nothing from elsewhere."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from documents import ROOT

MKDOCS = shutil.which("mkdocs", path=ROOT / ".venv-site" / "bin") or shutil.which("mkdocs")
LOADED = re.compile(
    r"""<(?:script|img|iframe|source|video)\b[^>]*\ssrc=["']?(?:https?:)?//"""
    r"""|<link\b(?=[^>]*rel=["']?(?:stylesheet|preload|preconnect|icon))[^>]*href=["']?(?:https?:)?//"""
)


@pytest.mark.parametrize(
    ("text", "is_loaded"),
    [
        ('<script src="https://x.org/a.js"></script>', True),
        ('<img alt="" src=//x.org/a.png>', True),
        ('<link rel="stylesheet" href="https://x.org/a.css">', True),
        ('<link rel="canonical" href="https://x.org/">', False),
        ('<a href="https://x.org/">x</a><img src="a.png">', False),
    ],
)
def test_what_a_page_loads_is_found(text: str, is_loaded: bool) -> None:
    assert bool(LOADED.search(text)) == is_loaded


@pytest.mark.slow
@pytest.mark.skipif(MKDOCS is None, reason="mkdocs is not installed: make site")
def test_the_site_builds_strictly_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    words = [str(MKDOCS), "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > len(list((ROOT / "docs").glob("*.md")))  # and the one for a wrong address
    for page in pages:
        found = LOADED.search(page.read_text(encoding="utf-8"))
        assert not found, f"{page.name}: {found[0] if found else ''}"
