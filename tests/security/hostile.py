"""Texts that would run in a browser if any page wrote them down as they are, and where they are put."""

from __future__ import annotations

from html.parser import HTMLParser

#: What every vector does when it runs: seen as a dialog, or as a mark on the window.
ALERT = "alert(1)"
SHORT = (
    f"<script>{ALERT}</script>",
    f"<img src=x onerror={ALERT}>",
    f"<svg onload={ALERT}>",
    f'"><script>{ALERT}</script>',
    f"'><img src=x onerror={ALERT}>",
    f'" autofocus onfocus={ALERT} x="',
    f"' onmouseover='{ALERT}' x='",
    f"</title><script>{ALERT}</script>",
    f"</textarea><svg onload={ALERT}>",
    "{{7*7}}${7*7}<%=7*7%>#{7*7}",
    f"javascript:{ALERT}",
    f"--><svg onload={ALERT}><!--",
)
LONG = (
    *SHORT,
    f"</template><script>{ALERT}</script>",
    f"</script><script>{ALERT}</script>",
    f"</pre></code></div></main></body><img src=x onerror={ALERT}>",
    f"<ScRiPt>{ALERT}</sCrIpT>",
    f"<script src=data:,{ALERT}></script>",
    f"<script/src=/static/x onerror={ALERT}>",
    f"<img src=x:x onerror\x0b={ALERT}>",
    f"<img/src=x/onerror={ALERT}//",
    f"<body onload={ALERT}><body onpageshow={ALERT}>",
    f"<details open ontoggle={ALERT}>",
    f"<video><source onerror={ALERT}></video><audio src=x onerror={ALERT}>",
    f"<iframe src=javascript:{ALERT}></iframe><iframe srcdoc='<script>{ALERT}</script>'></iframe>",
    f"<object data=javascript:{ALERT}><embed src=javascript:{ALERT}>",
    f"<form action=javascript:{ALERT}><button>x</button></form><isindex action=javascript:{ALERT}>",
    f"<math><mi xlink:href=javascript:{ALERT}>x</mi></math>",
    f"<svg><animate onbegin={ALERT} attributeName=x dur=1s></svg>",
    f"<svg><a xlink:href=javascript:{ALERT}><text y=20>x</text></a></svg>",
    f"<svg><script>{ALERT}</script></svg><svg><style><img src=x onerror={ALERT}></style></svg>",
    f"<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror={ALERT}&gt;'>",
    f"<noscript><p title='</noscript><img src=x onerror={ALERT}>'>",
    f"<meta http-equiv=refresh content='0;url=javascript:{ALERT}'><base href=//evil.example/>",
    f"<link rel=stylesheet href=data:,*{{x:expression({ALERT})}}><style>@import 'data:,*{{}}'</style>",
    f"<a href='javascript:{ALERT}'>x</a><a href='java\tscript:{ALERT}'>x</a><a href=' &#14;javascript:{ALERT}'>x</a>",
    f"<input autofocus onfocus={ALERT}><select autofocus onfocus={ALERT}><textarea autofocus onfocus={ALERT}>",
    f"&lt;script&gt;{ALERT}&lt;/script&gt;",
    f"\\u003cscript\\u003e{ALERT}\\u003c/script\\u003e",
    f"\uff1cscript\uff1e{ALERT}\uff1c/script\uff1e",
    f"<\x00script>{ALERT}</script>".replace("\x00", "\x01"),
    f"[x](javascript:{ALERT}) ![x](javascript:{ALERT}) <javascript:{ALERT}>",
    f"[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==) [x]: javascript:{ALERT}",
    f'![x"onerror="{ALERT}](https://evil.example/x.png "x" onload="{ALERT}")',
    f"```html onload={ALERT}\n<script>{ALERT}</script>\n```",
    f"|<script>{ALERT}</script>|\n|-|\n|<img src=x onerror={ALERT}>|",
    "<x style='position:fixed;inset:0;background:red'>covers everything</x>",
    "<input id=confirm name=csrf_token value=x><form id=send></form><img name=body>",
)
EVERYTHING_AT_ONCE = "\n\n".join(LONG)
LOADING = {"script": "src", "link": "href"}
LOCAL = ("/static/", "/bootstrap/static/", "/api/docs/assets/")
NEVER = {"iframe", "object", "embed", "applet", "base", "frame", "frameset", "math", "marquee", "isindex", "style"}
RUNNING = ("javascript:", "vbscript:", "data:text")
ADDRESSES = {"href", "src", "action", "formaction", "xlink:href", "data", "poster", "srcset", "background"}


class Page(HTMLParser):
    """Reads a page as a browser does, and lists everything in it that could run or cover something."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.wrong: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at one element."""
        said = {name: value or "" for name, value in attrs}
        if tag in NEVER or (tag == "meta" and "http-equiv" in said):
            self.wrong.append(f"<{tag}>")
        if tag in LOADING and not said.get(LOADING[tag], "").startswith(LOCAL):
            self.wrong.append(f"<{tag} {said}>")
        self.wrong += [f"<{tag} {name}>" for name in said if name.startswith("on") or name == "style"]
        for name in ADDRESSES & said.keys():
            address = "".join(said[name].split()).lower().lstrip("\x00\x01\x0e")
            if address.startswith(RUNNING):
                self.wrong.append(f"<{tag} {name}={address}>")


def dangers(html: str) -> list[str]:
    """Return what is in a page that should not be in any."""
    return Page(html).wrong
