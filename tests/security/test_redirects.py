"""Nobody is ever sent elsewhere: whatever ``next`` says, and whatever the Host header says."""

from __future__ import annotations

import secrets
from typing import Any, cast
from urllib.parse import quote, urljoin, urlsplit

import pytest

from tests.faults.filer import EVERYTHING, RawHttp, Waiting
from tests.http_caller import HttpCaller
from tests.security.routes import Route
from tests.security.scene import Scene
from tests.site_process import SiteProcess

EVIL = "poison.example"
#: What leads a browser elsewhere in some browser or other, or some library's eyes.
ELSEWHERE = (
    *("https://evil.example", "http://evil.example/", "HTTPS://evil.example", "//evil.example", "///evil.example"),
    *("////evil.example", "\\\\evil.example", "/\\evil.example", "\\/evil.example", "/\\/evil.example"),
    *("https:evil.example", "https:/evil.example", "https:///evil.example", "http:\\\\evil.example"),
    *("javascript:alert(1)", "JaVaScRiPt:alert(1)", "java\nscript:alert(1)", "\x01javascript:alert(1)"),
    *("data:text/html,<script>alert(1)</script>", "vbscript:msgbox(1)", "file:///etc/passwd", "blob:x"),
    *("/\t/evil.example", "/\n/evil.example", "/\r/evil.example", "\t//evil.example", " //evil.example"),
    *("/\x00/evil.example", "/ /evil.example", "/\x0b/evil.example", "/\x7f/evil.example", "/\x85/evil.example"),
    *("/requests\r\nLocation: https://evil.example", "/%0d%0aLocation:%20https://evil.example"),
    *("%2f%2fevil.example", "%5c%5cevil.example", "/%2f/evil.example", "/%5cevil.example", "/%09/evil.example"),
    *("@evil.example", "//user@evil.example", "https://127.0.0.1@evil.example", "//evil.example:80"),
    *(
        "\uff0f\uff0fevil.example",
        "//evil\u3002example",
        "/\uff0fevil.example",
        "//evil.example%00.127.0.0.1",
        "?next=//evil.example",
    ),
    *("/.//evil.example", "/..//evil.example", "/x/..//evil.example", "./\\evil.example", "//", "///", "/\\", ""),
)
HOSTS = ("poison.example", "poison.example:443", "127.0.0.1.poison.example", "127.0.0.1@poison.example")
CLAIMS = ("X-Forwarded-Host: poison.example", "X-Forwarded-Server: poison.example", "Forwarded: host=poison.example")


def stays(site: SiteProcess, location: str) -> bool:
    """Whether a browser that reads this address stays on the site: it drops tabs and line ends, and reads \\ as /."""
    seen = "".join(char for char in location if char not in "\t\r\n").strip("".join(map(chr, range(33))))
    target = urlsplit(urljoin(f"{site.url}/login", seen.replace("\\", "/")))
    return target.scheme == "http" and target.netloc == urlsplit(site.url).netloc and "\n" not in location


def test_this_test_knows_what_leads_elsewhere(site: SiteProcess) -> None:
    assert stays(site, "/requests?x=1")
    for away in ("https://evil.example", "//evil.example", "/\\evil.example", "\t//evil.example", "/\t/evil.example"):
        assert not stays(site, away), away


@pytest.mark.parametrize("target", ELSEWHERE)
def test_signing_in_and_up_never_lead_elsewhere(site: SiteProcess, eve: HttpCaller, target: str) -> None:
    new = HttpCaller(site.url)
    form = {"username": f"new-{secrets.token_hex(6)}", "password": "a long enough secret"}
    form |= {"confirm": form["password"], "csrf_token": new._csrf("/register")}
    for caller, method, path, options in (
        (new, "POST", "/register", {"data": form}),
        (eve, "GET", "/login", {}),
        (eve, "GET", "/register", {}),
    ):
        answer = caller.call(method, path, params={"next": target}, allow_redirects=False, **options)
        assert answer.status_code == 302, answer.text[:300]
        assert stays(site, answer.headers["Location"]), (path, answer.headers["Location"])
        assert len(cast(Any, answer.raw).headers.getlist("Location")) == 1, "a header was smuggled in"


def test_the_page_of_the_sign_in_carries_no_address_from_elsewhere_on(visitor: HttpCaller, site: SiteProcess) -> None:
    page = visitor.call("GET", "/login", params={"next": "https://evil.example/"}).text
    for address in [part.split('"')[0] for part in page.split('href="')[1:] + page.split('action="')[1:]]:
        assert stays(site, address), address


@pytest.mark.parametrize("path", ["/admin", "//admin//users", "//login", "//evil.example//login", "/spaces//x"])
def test_a_slash_too_few_or_too_many_is_put_right_by_a_path(site: SiteProcess, path: str) -> None:
    for host in HOSTS:
        answer = ask(site, path, host)
        assert EVIL not in answer.replace(path, ""), answer
        for line in answer.splitlines():
            if line.lower().startswith("location:"):
                assert line.partition(": ")[2].startswith("/"), line
                assert not line.partition(": ")[2].startswith("//"), line


def ask(site: SiteProcess, path: str, host: str, *claims: str, cookie: str = "") -> str:
    """Ask for a page in the name of another host, and return all that came."""
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: close", *claims]
    lines += [f"Cookie: {cookie}"] if cookie else []
    peer = RawHttp(site.url, 10).send("\r\n".join([*lines, "", ""]).encode())
    said = peer.until_closed().decode("utf-8", "replace")
    peer.close()
    return said


def test_no_link_is_built_from_the_host_header(site: SiteProcess, scene: Scene, routes: list[Route]) -> None:
    """Without a public address, the code to copy on a space's page alone names the host that its reader typed."""
    name, value = next(iter(scene.ann.http.cookies.get_dict().items()))
    for route in routes:
        if route.is_safe:
            query = "?wait=0" if "live" in route.endpoint else ""
            for cookie in ("", f"{name}={value}"):
                said = ask(site, route.path(scene.ids) + query, EVIL, *CLAIMS, cookie=cookie)
                for before in ('href="', 'src="', 'action="', "Location: "):
                    for address in said.split(before)[1:]:
                        assert EVIL not in address[:60], (route, address[:60])
                assert route.endpoint == "pages.space" or EVIL not in said, (route, said[said.find(EVIL) - 200 :][:300])


def test_with_a_public_address_nothing_at_all_is(secure_site: SiteProcess, routes: list[Route]) -> None:
    ids = dict.fromkeys(("name", "request_id", "file_id", "token_id", "user_id", "attempt_id", "filename"), "1")
    for route in routes:
        if route.is_safe:
            for host in (EVIL, f"spaces.example.{EVIL}"):
                assert EVIL not in ask(secure_site, route.path(ids), host, *CLAIMS), route


def test_links_for_apps_are_on_the_public_address(tmp_path_factory: pytest.TempPathFactory) -> None:
    """An app that connects by another name is told the public one."""
    public = "http://spaces.example"
    with SiteProcess(tmp_path_factory.mktemp("public"), SPACES_PUBLIC_URL=public) as own:
        admin = own.admin()
        space = admin.make_space(inputs=EVERYTHING)
        claimed = {"headers": {"X-Forwarded-Host": EVIL}, "transports": ["polling"]}
        app = Waiting(own.url, admin.make_token(spaces=[space]), **claimed).serve(space)
        admin.json("POST", f"spaces/{space}/requests", 202, files={"file": ("a.txt", b"hello")})
        request = app.next("inference_request")
        assert request["files"][0]["url"].startswith(f"{public}/api/")
        assert request["upload"]["url"].startswith(f"{public}/api/")
        app.close()


def test_a_header_cannot_be_smuggled_in_by_an_address(site: SiteProcess) -> None:
    for text in ("x\r\nSet-Cookie: a=b", "x\nX-Evil: 1", "x\r\n\r\n<script>"):
        for path in (f"/requests?status={quote(text)}", f"/spaces/{quote(text)}", f"/admin?x={quote(text)}"):
            head = ask(site, path, "127.0.0.1").partition("\r\n\r\n")[0]
            assert "X-Evil" not in head.replace(quote("X-Evil"), "").replace("%0AX-Evil", "")
            assert "\r\nSet-Cookie: a=b" not in head
