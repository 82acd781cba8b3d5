"""What a written page may do when it is opened: show itself, and nothing else."""

import base64
import hashlib
import re

HEAD = '<meta charset="utf-8">\n'  # of a template: the policy follows it, before any style
# what is filled in, and matplotlib's drawings, have no bare < or > outside of tags
TAG = re.compile(r"<[a-zA-Z][^<>]*>")
ATTRIBUTE = re.compile(r'\sstyle="([^"]*)"')
CLASS = re.compile(r'\sclass="([^"]*)"')
STYLE = re.compile(r"<style[^<>]*>(.*?)</style>", re.DOTALL)


def protect(page: str) -> str:
    """Gives a page a Content Security Policy by which it loads nothing and runs nothing.

    Its style sheets are allowed by their SHA-256, so that no other one is. A hash does not cover a
    `style` attribute: each becomes a class.

    Args:
        page: in HTML, with `HEAD` in its head; text in it is escaped.
    """
    rules: dict[str, str] = {}

    def to_class(tag: re.Match[str]) -> str:
        found = ATTRIBUTE.search(tag[0])
        if found is None:
            return tag[0]
        name = rules.setdefault(found[1], f"s{len(rules)}")
        rest = tag[0].replace(found[0], "", 1)
        if CLASS.search(rest):
            return CLASS.sub(rf' class="\1 {name}"', rest, count=1)
        return re.sub(r"^<[^\s/>]+", rf'\g<0> class="{name}"', rest)

    page = TAG.sub(to_class, page)
    if rules:
        lines = "\n".join(f".{name} {{ {rule} }}" for rule, name in rules.items())
        page = page.replace("</head>", f"<style>\n{lines}\n</style>\n</head>", 1)
    hashes = sorted({f"'sha256-{_digest(content)}'" for content in STYLE.findall(page)})
    allowed = " ".join(hashes) or "'none'"
    policy = (
        f"default-src 'none'; style-src {allowed}; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
    return page.replace(HEAD, HEAD + meta, 1)


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
