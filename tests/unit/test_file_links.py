"""Signed links: nothing of them can be exchanged, and they end."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from project.errors import Forbidden, NotFound
from project.file_links import BEYOND_DEADLINE, FileLinks, without_signatures

LINKS = FileLinks("a key of the site, long enough")
FILE, ATTEMPT, DEADLINE = "f" * 32, "a" * 32, 1_000


def parts(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def check(url: str, file_id: str = FILE, now: float = DEADLINE, links: FileLinks = LINKS, **changed: str) -> None:
    said = parts(url) | changed
    links.check_download(file_id, said["attempt"], int(said["expires"]), said["signature"], now)


def test_a_link_is_good_until_it_expires() -> None:
    url = LINKS.download("https://site", FILE, ATTEMPT, DEADLINE)
    assert url.startswith(f"https://site/api/v1/files/{FILE}?attempt={ATTEMPT}&expires=")
    check(url)
    check(url, now=DEADLINE + BEYOND_DEADLINE - 1)
    with pytest.raises(Forbidden, match="over"):
        check(url, now=DEADLINE + BEYOND_DEADLINE)


@pytest.mark.parametrize(
    "changed",
    [
        {"signature": "x"},
        {"signature": ""},
        {"signature": "ü"},
        {"attempt": "b" * 32},
        {"expires": "999999999999"},
    ],
    ids=repr,
)
def test_nothing_of_it_can_be_changed(changed: dict[str, str]) -> None:
    with pytest.raises(NotFound):
        check(LINKS.download("", FILE, ATTEMPT, DEADLINE), **changed)


def test_a_signature_has_one_spelling() -> None:
    """The last character of 43 in base64 has bits that mean nothing."""
    url = LINKS.download("", FILE, ATTEMPT, DEADLINE)
    signature = parts(url)["signature"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for last in alphabet.replace(signature[-1], ""):
        with pytest.raises(NotFound):
            check(url, signature=signature[:-1] + last)


def test_it_is_good_for_its_file_and_by_its_sites_key_alone() -> None:
    url = LINKS.download("", FILE, ATTEMPT, DEADLINE)
    with pytest.raises(NotFound):
        check(url, file_id="e" * 32)
    with pytest.raises(NotFound):
        check(url, links=FileLinks("another key, long enough too"))


def test_fetching_and_bringing_are_signed_apart() -> None:
    fetch, bring = LINKS.download("", FILE, ATTEMPT, DEADLINE), LINKS.upload("", ATTEMPT, DEADLINE)
    LINKS.check_upload(ATTEMPT, int(parts(bring)["expires"]), parts(bring)["signature"], DEADLINE)
    with pytest.raises(NotFound):
        LINKS.check_upload(ATTEMPT, int(parts(fetch)["expires"]), parts(fetch)["signature"], DEADLINE)
    with pytest.raises(NotFound):
        check(fetch, signature=parts(bring)["signature"])


def test_logs_lose_the_signature() -> None:
    url = LINKS.download("http://site", FILE, ATTEMPT, DEADLINE)
    line = without_signatures(f'GET "{url}" failed; again {url}')
    assert parts(url)["signature"] not in line
    assert f"attempt={ATTEMPT}" in line
    assert line.count("signature=...") == 2
