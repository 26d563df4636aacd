"""A full disk: writing is refused and leaves nothing behind, reading goes on, and room brings all back."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.apps import Never
from tests.faults.away import (
    NEEDS_NOTHING,
    READS,
    WRITES,
    Heard,
    Visitors,
    dishonest,
    failed,
    visitors,
    wait_back,
    wait_unready,
)
from tests.faults.filer import EVERYTHING, Waiting, kept
from tests.faults.looking import SOME_MODES, text_of
from tests.http_caller import HttpCaller
from tests.program import Program
from tests.site_process import SiteProcess, wait_until

OwnSite = Callable[..., SiteProcess]
Started = Callable[[Any], Any]

#: Calls that bring a file, and are refused for it before the database is asked.
WITH_FILE = ("submit a file", "submit by form", "an upload of an app")


@contextmanager
def full(site: SiteProcess) -> Iterator[None]:
    """Fill the disk for a while."""
    site.fill_disk()
    try:
        yield
    finally:
        site.free_disk()


def without_room(heard: list[Heard]) -> list[str]:
    """Return the answers that do not say that there is no room for the file."""
    return [str(one) for one in heard if one.status != 507 or "no room for files" not in one.answer.text]


@pytest.mark.parametrize("site", SOME_MODES, indirect=True)
def test_a_full_disk_refuses_what_writes_and_reads_on(site: SiteProcess) -> None:
    with visitors(site) as everybody:
        with full(site):
            heard = everybody.call_all(*NEEDS_NOTHING, *READS, *WRITES)
            assert not without_room([one for one in heard if one.name in WITH_FILE])
            assert not dishonest([one for one in heard if one.name in WRITES and one.name not in WITH_FILE])
            assert not failed([one for one in heard if one.name not in WRITES])
            assert everybody.app.answer(everybody.request) == "retry_later"
            assert set(kept(site.data_dir)) == everybody.kept, "something of a refused file is left"
            wait_unready(site)
        wait_back(site)
        everybody.check_untouched()
        check_files_work(everybody)
        everybody.check_works()


def check_files_work(everybody: Visitors) -> None:
    """Check that the upload that was refused is taken now, and that of the other kind too."""
    upload = everybody.app.upload(everybody.request, b"now there is room")
    assert len(upload) == 32
    path, form = f"spaces/{everybody.space}/requests", {"file": ("b.txt", b"and here", "text/plain")}
    made = everybody.user.json("POST", path, 202, data={"prompt": "too early"}, files=form)
    everybody.user.json("POST", f"requests/{made['id']}/cancel")


def test_an_app_of_the_package_brings_its_result_once_there_is_room(
    site: SiteProcess, admin: HttpCaller, space: str, token: str, program: Callable[..., Program], tmp_path: Path
) -> None:
    lines = tmp_path / "computed"
    app = program("python", "-m", "tests.faults.counting_app", site.url, token, space, str(lines), "1")
    wait_until(lambda: admin.space(space)["connected"], "the app is connected", 20)
    request_id = admin.submit(space, "kept")["id"]
    wait_until(lines.exists, "the app computes")
    with full(site):
        wait_unready(site)
        assert admin.request(request_id)["status"] == "processing"
    assert text_of(admin.wait_final(request_id)) == "kept"
    assert lines.read_text() == "kept\n", "it was computed once"
    assert app.process.poll() is None, "the app went on"


def test_too_little_free_space_refuses_files_and_takes_prompts(own_site: OwnSite, started: Started) -> None:
    site = own_site(SPACES_MIN_FREE_MB=1e9)
    admin = site.admin()
    space = admin.make_space(inputs=EVERYTHING)
    app = started(Waiting(site.url, admin.make_token(spaces=[space]))).serve(space)
    a_file = {"file": ("a.txt", b"no room", "text/plain")}
    answer = admin.call("POST", f"spaces/{space}/requests", data={"prompt": "x"}, files=a_file)
    assert (answer.status_code, answer.json()["error"]["code"]) == (507, "storage_full")
    made = admin.submit(space, "a prompt needs no room")
    request = app.next("inference_request", request_id=made["id"])
    refused = app.http.put(request["upload"]["url"], b"no room", timeout=10)
    assert (refused.status_code, refused.json()["error"]["code"]) == (507, "storage_full")
    assert app.answer(request) == "accepted"
    assert kept(site.data_dir) == []


def test_files_whose_folder_is_gone_are_away_and_not_unknown(own_site: OwnSite) -> None:
    """As when another disk, or a network folder, is not there for a while."""
    site = own_site()
    with visitors(site) as everybody:
        files, aside = site.data_dir / "files", site.data_dir / "aside"
        files.rename(aside)
        try:
            heard = everybody.call_all("a file of a request", "a signed file of an app", *WITH_FILE)
            answers = [(one.status, one.code or "a page", "cannot reach its files" in one.answer.text) for one in heard]
            assert {answer[0] for answer in answers} == {503}, answers
            assert all(said for _, _, said in answers), answers
            assert not failed(everybody.call_all("a request by API", "my requests"))
            assert not files.exists()
        finally:
            aside.rename(files)
        everybody.check_untouched()
        check_files_work(everybody)
        everybody.check_works()


@pytest.mark.parametrize("mode", SOME_MODES)
def test_a_full_disk_does_not_hold_up_a_stop(own_site: OwnSite, started: Started, mode: str) -> None:
    """Also where the site's own log is on that disk."""
    site = own_site(async_mode=mode)
    admin = site.admin()
    space = admin.make_space()
    app = started(Never(site.url, admin.make_token(spaces=[space]))).serve(space)
    site.fill_disk()
    assert site.process
    site.process.send_signal(signal.SIGTERM)
    assert site.process.wait(10) in (0, 120), "120: Python could not write its last lines"
    app.wait_gone()
