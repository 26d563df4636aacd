"""Markdown written by strangers (space descriptions, results of apps), made safe to show.

Three fences, each enough alone: raw HTML is not parsed as HTML, images become links (a page never loads
anything from elsewhere), and what is left passes an allow-list of tags, attributes and link schemes.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from functools import lru_cache

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

#: Longer texts are shown as they are: parsing them would hold up everybody else.
MAX_CHARS = 30_000
SUMMARY_SOURCE_CHARS = 2_000
SMALLEST_HEADING = 6
#: Headings start at h3, below the page's own title and sections.
HEADING_SHIFT = 2

TAGS = {
    *("p", "br", "hr", "blockquote", "pre", "code", "em", "strong", "s", "a"),
    *("ul", "ol", "li", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td"),
}
ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}}
LINK_SCHEMES = {"http", "https", "mailto"}
LINK_REL = "nofollow noopener noreferrer"


_parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def _image_as_link(
    renderer: RendererHTML, tokens: Sequence[Token], index: int, options: OptionsDict, env: EnvType
) -> str:
    """Draw an image as a link with its alternative text."""
    source = str(tokens[index].attrs.get("src", ""))
    text = renderer.renderInlineAsText(tokens[index].children or [], options, env) or source
    return f'<a href="{html.escape(source)}">{html.escape(text)}</a>'


_parser.add_render_rule("image", _image_as_link)


def _render(text: str) -> str:
    tokens = _parser.parse(text)
    for token in tokens:
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(int(token.tag[1]) + HEADING_SHIFT, SMALLEST_HEADING)}"
    return str(_parser.renderer.render(tokens, _parser.options, {}))


@lru_cache(maxsize=128)
def to_html(text: str) -> str:
    """Return ``text`` as HTML that is safe to put into a page."""
    if len(text) > MAX_CHARS:
        return f"<pre>{html.escape(text)}</pre>"
    return nh3.clean(_render(text), tags=TAGS, attributes=ATTRIBUTES, url_schemes=LINK_SCHEMES, link_rel=LINK_REL)


def to_line(text: str, length: int = 160) -> str:
    """Return the beginning of ``text`` as one plain line of at most ``length`` characters."""
    plain = html.unescape(nh3.clean(to_html(text[:SUMMARY_SOURCE_CHARS]), tags=set()))
    line = " ".join(plain.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"
