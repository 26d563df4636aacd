"""Markdown from strangers: it looks right, and nothing in it can run, load or pretend."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from project import markdown
from project.markdown import LINK_REL, MAX_CHARS, TAGS, to_html, to_line

ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<svg><script href=data:,alert(1) />",
    "<iframe src=https://evil.example></iframe>",
    "<a href='javascript:alert(1)'>x</a>",
    "<style>body{display:none}</style>",
    "<form action=https://evil.example><input name=password></form>",
    "<meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<base href=https://evil.example>",
    "<math><mtext></table><mglyph><style><!--</style><img title='--><img src=1 onerror=alert(1)>'>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](java&#10;script:alert(1))",
    "[x](&#x6A;avascript:alert(1))",
    "[x](vbscript:msgbox(1))",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](file:///etc/passwd)",
    "<javascript:alert(1)>",
    "<data:text/html,alert(1)>",
    "[x]: javascript:alert(1)\n\n[x]",
    "![x](javascript:alert(1))",
    "![x](https://evil.example/pixel.png)",
    '![x" onerror="alert(1)](https://evil.example/x.png)',
    '![x](https://evil.example/x.png"onerror="alert(1))',
    '[x](https://ok.example/"onmouseover="alert(1))',
    "[x](https://ok.example 'title\" onmouseover=\"alert(1)')",
    "```<script>\nalert(1)\n```",
    "```html onload=alert(1)\n<script>alert(1)</script>\n```",
    "`<script>alert(1)</script>`",
    "# <img src=x onerror=alert(1)>",
    "|<script>|\n|-|\n|<img src=x onerror=alert(1)>|",
    "<!--<img src=x onerror=alert(1)>-->",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "<<script>script>alert(1)<</script>/script>",
    "<a style='position:fixed;inset:0' href=https://evil.example>x</a>",
    "<div id=confirm class=notice>x</div>",
    "\x00<script>alert(1)</script>",
]


class Inspector(HTMLParser):
    """Collects what a browser would make of the HTML."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def elements(html: str) -> list[tuple[str, dict[str, str | None]]]:
    inspector = Inspector()
    inspector.feed(html)
    return inspector.elements


def scheme_of(address: str) -> str | None:
    """Return the scheme that a browser sees: it skips control characters at the start, tabs and line ends anywhere."""
    seen = re.sub("[\t\r\n]", "", address).lstrip("".join(map(chr, range(33))))
    found = re.match("([a-zA-Z][a-zA-Z0-9+.-]*):", seen)
    return found[1].lower() if found else None


def broken_rules(html: str) -> list[str]:
    """Say which rules of safe HTML ``html`` breaks."""
    broken = []
    for tag, attributes in elements(html):
        if tag not in TAGS:
            broken.append(f"element {tag}")
        for name, value in attributes.items():
            if name not in {"href", "rel", "title", "start"}:
                broken.append(f"attribute {name}")
            if name == "href" and scheme_of(str(value)) not in {None, "https", "http", "mailto"}:
                broken.append(f"address {value}")
    return broken


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_dangerous_survives(attack: str) -> None:
    assert broken_rules(to_html(attack)) == []


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_dangerous_survives_in_the_middle_of_other_text(attack: str) -> None:
    assert broken_rules(to_html(f"> - a\n\nsome *text {attack} and*\n\n1. {attack}")) == []


def test_the_rules_of_this_test_notice_what_they_are_for() -> None:
    assert broken_rules("<script>") == ["element script"]
    assert broken_rules('<p onclick="x">') == ["attribute onclick"]
    for address in ("javascript:x", " JavaScript:x", "java\tscript:x", "data:x", "\x01javascript:x"):
        assert broken_rules(f'<a href="{address}">') == [f"address {address}"]


def test_the_allow_list_holds_even_if_the_parser_let_html_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(markdown._parser.options, "html", True)
    for attack in ATTACKS:
        assert broken_rules(to_html.__wrapped__(attack)) == []


def test_links_leave_without_referrer_and_without_our_good_name() -> None:
    ((_, attributes),) = [element for element in elements(to_html("[x](https://a.example/y)")) if element[0] == "a"]
    assert attributes == {"href": "https://a.example/y", "rel": LINK_REL}


def test_an_image_becomes_a_link_with_its_text() -> None:
    html = to_html("![a **fine** cat](https://a.example/cat.png)")
    assert "<img" not in html
    assert '<a href="https://a.example/cat.png"' in html
    assert ">a fine cat</a>" in html


def test_headings_stay_below_those_of_the_page() -> None:
    assert [tag for tag, _ in elements(to_html("# a\n## b\n##### c"))] == ["h3", "h4", "h6"]


def test_the_usual_markdown_works() -> None:
    html = to_html("**b** *i* ~~s~~ `c`\n\n- x\n\n| a |\n|---|\n| 1 |\n\n```py\nprint(1 < 2)\n```")
    for piece in ("<strong>b</strong>", "<em>i</em>", "<s>s</s>", "<li>x</li>", "<td>1</td>", "print(1 &lt; 2)"):
        assert piece in html


def test_a_very_long_text_is_shown_as_it_is() -> None:
    html = to_html("*a* <b> " * MAX_CHARS)
    assert html.startswith("<pre>*a* &lt;b&gt;")
    assert broken_rules(html) == []


def test_one_line_is_plain_and_short() -> None:
    assert to_line("# Title\n\nSome *text* & <b>more</b>\n- x [link](https://a.example)") == (
        "Title Some text & <b>more</b> x link"
    )
    assert to_line("word " * 100, 20) == "word word word word…"
    assert to_line("") == ""
