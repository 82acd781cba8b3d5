"""The README, the guides and docs: links lead somewhere, code is run or says why not."""

import re

import pytest
import yaml
from documents import (
    DOCUMENTS,
    NO_CODE,
    PYTHON,
    ROOT,
    SHELL,
    all_blocks,
    anchors,
    links,
    prose,
)

DOCS = ROOT / "docs"
PLACEHOLDER = "https://github.com/OWNER/solo-rekd"
ELSEWHERE = ("http://", "https://", "mailto:")
# of the package's own jargon, which readers do not share
JARGON = (
    r"trained along|trains along|from nothing|\bripe\b|a line an epoch|\bgoe?s? on\b|\bmends?\b"
)
RECORDS = ("docs/benchmarks-earlier.md",)  # kept as it was written


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


def find_broken(document: str, text: str) -> list[str]:
    """The relative links of a document that lead nowhere."""
    broken = []
    for link in links(text):
        if link.startswith(ELSEWHERE):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / document).parent / path if path else ROOT / document
        known = anchors(target.read_text(encoding="utf-8")) if target.suffix == ".md" else set()
        if not target.exists() or (anchor and anchor not in known):
            broken.append(link)
    return broken


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_relative_link_and_anchor_resolves(document: str) -> None:
    assert not find_broken(document, read(document))


def test_a_broken_link_or_anchor_is_found() -> None:
    text = "# Two words\n[a](docs/rekd.md) [b](docs/no.md) [c](#two-words) [d](#none)\n"
    text += "`[e](no.md)` [f](https://example.org/x) ![g](docs/no.png)\n```bash\n[h](no)\n```\n"
    assert links(text) == [
        *("docs/rekd.md", "docs/no.md", "#two-words", "#none", "https://example.org/x"),
        "docs/no.png",
    ]
    assert anchors(text) == {"two-words"}
    assert anchors("## The miner (`a/b.py`)\n## A, b\n## A b\n") == {
        "the-miner-abpy",
        "a-b",
        "a-b-1",
    }


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_block_of_code_is_run_or_says_why_not(document: str) -> None:
    for block in all_blocks(read(document)):
        known = block.kind in (*SHELL, *PYTHON, *NO_CODE)
        assert known or block.reason, f"{document}: no rule runs a block of {block.kind!r}"


def test_a_mark_makes_the_next_block_an_illustration() -> None:
    text = "<!-- not run: no GPU -->\n```bash\na\n```\n\n```python\nb\n```\n"
    assert all_blocks(text) == [("bash", "a\n", "no GPU"), ("python", "b\n", "")]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_address_of_the_source_is_one_placeholder(document: str) -> None:
    assert read(document).count(PLACEHOLDER) <= 1


@pytest.mark.parametrize("document", [name for name in DOCUMENTS if name not in RECORDS])
def test_prose_has_no_jargon(document: str) -> None:
    found = re.search(JARGON, prose(read(document)), re.IGNORECASE)
    assert not found


def pages_of(nav: object) -> list[str]:
    """The pages that a navigation names."""
    if isinstance(nav, str):
        return [] if nav.startswith(ELSEWHERE) else [nav]
    values = nav.values() if isinstance(nav, dict) else nav
    return [page for value in values for page in pages_of(value)]  # type: ignore[union-attr]


def test_every_page_stands_once_in_the_navigation_of_the_site() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    pages = pages_of(site["nav"])
    assert sorted(pages) == sorted(str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md"))


def test_every_page_leads_on() -> None:
    """A reader of any page finds a link to another one."""
    for document in DOCUMENTS:
        if document.startswith("docs/"):
            onward = [link for link in links(read(document)) if ".md" in link]
            assert onward, f"{document} has no link to another page"


def test_the_code_names_pages_that_are_there() -> None:
    """Messages, help and comments send readers to docs/PAGE.md#PLACE."""
    for folder in ("solo_rekd", "scripts"):
        for path in (ROOT / folder).rglob("*.py"):
            for page, place in re.findall(r"docs/([\w-]+\.md)(?:#([\w-]+))?", path.read_text()):
                target = DOCS / page
                assert target.exists(), f"{path}: {page}"
                assert not place or place in anchors(target.read_text()), f"{path}: {page}#{place}"
