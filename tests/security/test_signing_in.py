"""Guessing passwords and tokens, finding out names, planting sessions: against a running site, from many addresses."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter

from tests.faults.raw_peer import RawPeer
from tests.http_caller import CSRF_META, HttpCaller
from tests.security.scene import Scene
from tests.site_process import SiteProcess

PASSWORD = "a long enough secret"
#: One name as people, keyboards and attackers spell it.
SPELLINGS = (
    "mallory",
    "MALLORY",
    " mallory ",
    "Mallory",
    "\uff4d\uff41\uff4c\uff4c\uff4f\uff52\uff59",
    "𝓶𝓪𝓵𝓵𝓸𝓻𝔂",
    "mALLORY",
    "ⓜⓐⓛⓛⓞⓡⓨ",
    "mallorY",
)
ALLOWED = 9
#: How often two names are tried at most, and between which bounds the ratio of their fastest answers must lie.
ROUNDS, ALIKE = 25, (0.7, 1.4)


class From(HTTPAdapter):
    """Calls from another address of this machine."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, source_address=(self._address, 0), **options)  # type: ignore[no-untyped-call]


Guess = Callable[..., requests.Response]


@pytest.fixture
def guess(site: SiteProcess) -> Iterator[Guess]:
    """Try a name and a password from an address, as a browser that was never here before."""
    opened: list[requests.Session] = []

    def attempt(name: str, password: str, address: str, **headers: str) -> requests.Response:
        http = requests.Session()
        opened.append(http)
        http.trust_env = False
        http.mount("http://", From(address))
        found = CSRF_META.search(http.get(f"{site.url}/login", timeout=20).text)
        assert found
        form = {"username": name, "password": password, "csrf_token": found[1]}
        return http.post(f"{site.url}/login", data=form, headers=headers, allow_redirects=False, timeout=20)

    yield attempt
    for http in opened:
        http.close()


@pytest.fixture(scope="module")
def mallory(site: SiteProcess) -> str:
    """An account that is guessed at."""
    HttpCaller(site.url).sign_up("mallory", PASSWORD)
    return "mallory"


def test_the_tenth_wrong_password_is_refused_however_the_name_is_spelled(mallory: str, guess: Guess) -> None:
    answers = [guess(SPELLINGS[turn % len(SPELLINGS)], f"wrong {turn}", "127.0.0.11") for turn in range(ALLOWED + 1)]
    assert [answer.status_code for answer in answers] == [401] * ALLOWED + [429]
    assert int(answers[-1].headers["Retry-After"]) > 0
    for name in SPELLINGS:
        assert guess(name, PASSWORD, "127.0.0.11").status_code == 429, name
    assert guess("somebody else", "wrong", "127.0.0.11").status_code == 401
    assert guess(mallory, PASSWORD, "127.0.0.12").status_code == 302, "an attacker has locked the account's owner out"


def test_an_address_that_is_only_claimed_is_no_other_address(mallory: str, guess: Guess) -> None:
    claims: list[dict[str, str]] = [
        {"X-Forwarded-For": "10.0.0.{}"},
        {"X-Real-IP": "10.0.0.{}"},
        {"Forwarded": "for=10.0.0.{}"},
        {"True-Client-IP": "10.0.0.{}"},
    ]
    for turn in range(ALLOWED):
        headers = {name: value.format(turn) for name, value in claims[turn % len(claims)].items()}
        assert guess(mallory, "wrong", "127.0.0.13", **headers).status_code == 401
    for claim in claims:
        headers = {name: value.format(99) for name, value in claim.items()}
        assert guess(mallory, PASSWORD, "127.0.0.13", **headers).status_code == 429, claim


def test_a_known_and_an_unknown_name_are_answered_alike(mallory: str, guess: Guess) -> None:
    """In words, in status, in headers; when they are refused at last, too."""

    def plain(answer: requests.Response, name: str) -> tuple[int, str, list[str]]:
        text = CSRF_META.sub("", answer.text).replace(name, "NAME")
        token = text.partition('name="csrf_token" value="')[2].partition('"')[0]
        return answer.status_code, text.replace(token, ""), sorted(answer.headers)

    unknown = "nobodyx"
    for turn in range(ALLOWED + 1):
        known = guess(mallory, "wrong", "127.0.0.14")
        answer = guess(unknown, "wrong", "127.0.0.14")
        assert plain(known, mallory) == plain(answer, unknown), turn


def test_a_known_and_an_unknown_name_take_the_same_time(mallory: str, guess: Guess) -> None:
    """The same hash is computed; without it an unknown name would be answered in a fraction of the time.

    What else the machine does only makes single answers slower, so the fastest of each are compared.
    """
    fastest = {mallory: math.inf, "nobodyy": math.inf}
    for turn in range(ROUNDS):
        for name, known_best in fastest.items():
            answer = guess(name, "wrong", f"127.0.1.{turn}")
            assert answer.status_code == 401
            fastest[name] = min(known_best, answer.elapsed.total_seconds())
        known, unknown = fastest.values()
        if turn >= 4 and ALIKE[0] < known / unknown < ALIKE[1]:
            return
    raise AssertionError(f"a known name takes {known:.4f} s, an unknown one {unknown:.4f} s")


def test_registration_says_that_a_name_is_taken_and_is_bounded_by_address(site: SiteProcess, mallory: str) -> None:
    """The known exception: whoever may choose a name is told that it is taken."""
    caller = HttpCaller(site.url)
    form = {"username": "MALLORY", "password": PASSWORD, "confirm": PASSWORD, "csrf_token": caller._csrf("/register")}
    assert caller.call("POST", "/register", data=form).status_code == 409


@pytest.mark.parametrize("how", ["cut", "longer", "upper", "start", "other", "spaces", "empty", "hash"])
def test_a_token_that_is_nearly_right_is_as_wrong_as_any(site: SiteProcess, scene: Scene, how: str) -> None:
    token = scene.token
    near = {
        "cut": token[:-1],
        "longer": token + "A",
        "upper": token.upper(),
        "start": token[:16],
        "other": token[:-1] + ("A" if token[-1] != "A" else "B"),
        "spaces": f"{token[:20]} {token[20:]}",
        "empty": "",
        "hash": scene.select(f"SELECT token_hash FROM tokens WHERE id = {scene.token_id}"),
    }[how]
    wrong = HttpCaller(site.url, near or " ").call("GET", "requests")
    other = HttpCaller(site.url, "spaces_" + "x" * 54).call("GET", "requests")
    assert (wrong.status_code, other.status_code) == (401, 401)
    assert wrong.json()["error"]["code"] == other.json()["error"]["code"] == "unauthorized"
    assert HttpCaller(site.url, token).call("GET", "requests").status_code == 200
    peer = RawPeer(site.url, join=False)
    assert peer.refusal({"token": near})["data"]["code"] == "unauthorized"
    with suppress(OSError):
        peer.close()


def test_a_session_that_was_planted_before_the_sign_in_is_not_signed_in(site: SiteProcess, mallory: str) -> None:
    """Fixation: the attacker brings a cookie of their own into the victim's browser and waits."""
    planted = HttpCaller(site.url)
    planted_csrf = planted._csrf("/login")
    attackers = planted.http.cookies.get_dict()
    victim = HttpCaller(site.url)
    for name, value in attackers.items():
        victim.http.cookies.set(name, value, domain="127.0.0.1", path="/")
    victim.sign_in(mallory, PASSWORD)
    assert victim.http.cookies.get_dict() != attackers
    assert planted.call("GET", "/account", allow_redirects=False).status_code == 302
    victims = victim.http.cookies.get_dict()
    forged = requests.post(f"{site.url}/logout", cookies=victims, headers={"X-CSRFToken": planted_csrf}, timeout=20)
    assert forged.status_code == 400, "the attacker's CSRF token works in the victim's session"


def test_the_visitors_csrf_token_is_needed_even_to_sign_in(site: SiteProcess, mallory: str) -> None:
    """Otherwise a page elsewhere signs people in as the attacker, who reads later what they did."""
    form = {"username": mallory, "password": PASSWORD}
    answer = requests.post(f"{site.url}/login", data=form, allow_redirects=False, timeout=20)
    assert answer.status_code == 400
