import re

import pytest
from sealed_page import check_sealed

from solo_rekd.compare.report.policy import protect

PAGE = """<!DOCTYPE html>
<html><head>
<meta charset="utf-8">
<style>p > b {{ color: red }}</style>
</head><body>{}</body></html>
"""


def test_styles_of_tags_become_classes_that_the_policy_names() -> None:
    page = protect(PAGE.format('<b style="top: 1px">a</b><i class="c" style="top: 1px">b</i><br/>'))
    check_sealed(page)
    assert '<b class="s0">a</b><i class="c s0">b</i><br/>' in page
    assert ".s0 { top: 1px }" in page


def test_text_that_looks_like_a_style_stays() -> None:
    text = 'a style="b" &lt;p style="c"&gt;'
    page = protect(PAGE.format(f"<p>{text}</p>"))
    assert f"<p>{text}</p>" in page and page.count("<style>") == 1


@pytest.mark.parametrize(
    "change",
    [
        ("red", "blue"),
        ("<body>", '<body onload="a">'),
        ("<body>", '<body><b style="top: 0">'),
        ("<body>", '<body><img src="http://a.org/b.png">'),
        ("<body>", "<body><script>1</script>"),
        ("; base-uri 'none'", ""),
        ("style-src", "style-src 'unsafe-inline'"),
    ],
)
def test_the_check_of_the_other_tests_finds_what_is_open(change: tuple[str, str]) -> None:
    page = protect(PAGE.format("<p>a</p>"))
    check_sealed(page)
    with pytest.raises(AssertionError):
        check_sealed(re.sub(re.escape(change[0]), change[1], page, count=1))
