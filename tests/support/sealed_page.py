"""Whether a page can load or run anything when a browser opens it."""

import base64
import hashlib
import re
from html.parser import HTMLParser

# what loads or leads elsewhere, in a page or in a drawing
ADDRESSES = ("src", "href", "xlink:href", "srcset", "action", "formaction", "data", "poster")
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)><style>*{} \' style="x:y" `</td>'


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.policies: list[str] = []
        self.sheets: list[str] = []
        self.tags: set[str] = set()
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        if tag == "meta" and given.get("http-equiv") == "Content-Security-Policy":
            assert not self.sheets, "a policy does not hold for what comes before it"
            self.policies.append(given["content"] or "")
        if tag == "style":
            self.inside = True
            self.sheets.append("")
        for name, value in given.items():
            assert name != "style" and not name.startswith("on"), f"{tag} {name}={value}"
            if name in ADDRESSES:
                assert (value or "").startswith(("data:image/", "#")), f"{tag} {name}={value}"

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag != "style"

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.sheets[-1] += data


def check_sealed(page: str) -> None:
    """Asserts that a page has a policy, that its styles are those of the policy, and nothing runs.

    Args:
        page: in HTML.
    """
    reader = _Reader()
    reader.feed(page)
    reader.close()
    (policy,) = reader.policies
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";")}
    styles = rules.pop("style-src")
    assert rules == {
        "default-src": ["'none'"],
        "img-src": ["data:"],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
    digests = {hashlib.sha256(sheet.encode()).digest() for sheet in reader.sheets}
    assert set(styles) == {f"'sha256-{base64.b64encode(each).decode()}'" for each in digests}
    assert not any(re.search(r"url\((?!#)|@import", sheet) for sheet in reader.sheets)
    assert not {"script", "iframe", "object", "embed", "base", "form", "link"} & reader.tags
