"""Clean-up runs beside the queue: a backlog of thousands of expired requests delays nobody."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import create_engine, func, insert, select

from project import request_tables
from project.file_rows import files
from tests.faults.apps import Echo, Never
from tests.faults.filer import EVERYTHING, kept
from tests.faults.looking import ending, text_of
from tests.site_process import SiteProcess, wait_until

BACKLOG = 8_000
RETENTION = 60.0
DAY = 86_400.0
GONE = "a-space-of-old"
#: Seconds that a submit may take to its result beside the clean-up, and a deadline to be noticed.
QUICK = 4.0
TIMEOUT = 1.0


def test_a_backlog_of_expired_requests_delays_nobody(
    own_site: Callable[..., SiteProcess], started: Callable[[Any], Any]
) -> None:
    site = own_site(SPACES_RETENTION_DAYS=RETENTION / DAY)
    admin = site.admin()
    space, silent = admin.make_space(inputs=EVERYTHING), admin.make_space(timeout_seconds=TIMEOUT)
    token = admin.make_token(spaces=[space, silent])
    started(Echo(site.url, token)).serve(space)
    started(Never(site.url, token)).serve(silent)
    a_file = {"file": ("a.txt", b"old bytes", "text/plain")}
    made = admin.json("POST", f"spaces/{space}/requests", 202, data={"prompt": "a pattern"}, files=a_file)
    admin.wait_final(made["id"])
    multiply(site, made["id"])
    wait_until(lambda: backlog(site) < BACKLOG, "the clean-up begins", 20)
    rounds, slow = 0, []
    while backlog(site):
        rounds += 1
        late = admin.submit(silent, "never answered")["id"]
        begun = time.monotonic()
        assert text_of(admin.wait_final(admin.submit(space, f"prompt {rounds}")["id"])) == f"prompt {rounds}"
        slow.append(time.monotonic() - begun)
        final = admin.wait_final(late)
        assert ending(final) == ("timed_out", "processing_timeout")
        slow.append(time.monotonic() - begun - TIMEOUT)
    assert max(slow, default=0.0) < QUICK, slow
    assert rounds > 1, "it is done in one go, while nobody else was served"
    wait_until(lambda: len(kept(site.data_dir)) == 1, "the files of the backlog go too, and what has not expired stays")


def multiply(site: SiteProcess, request_id: str) -> None:
    """Make a long backlog of expired requests, each with a file, of one that has ended."""
    engine = create_engine(f"sqlite:///{site.database}")
    requests = request_tables.requests
    with engine.connect() as connection:
        row = dict(connection.execute(select(requests).where(requests.c.id == request_id)).mappings().one())
        file = dict(connection.execute(select(files).where(files.c.request_id == request_id)).mappings().one())
    before = time.time() - DAY
    times = dict.fromkeys(("created_at", "updated_at", "finished_at"), before)
    old = row | times | {"space_id": None, "space_name": GONE}
    ids = [secrets.token_hex(16) for _ in range(BACKLOG)]
    for one in ids:
        path = site.data_dir / "files" / "kept" / one[:2] / one
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"old bytes")
    with engine.begin() as connection:
        connection.execute(insert(requests), [old | {"id": one} for one in ids])
        connection.execute(insert(files), [file | {"id": one, "request_id": one} for one in ids])
    engine.dispose()


def backlog(site: SiteProcess) -> int:
    """Return how much of the backlog is left."""
    engine = create_engine(f"sqlite:///file:{site.database}?mode=ro&uri=true")
    with engine.connect() as connection:
        query = select(func.count()).select_from(request_tables.requests)
        left = int(connection.execute(query.where(request_tables.requests.c.space_name == GONE)).scalar_one())
    engine.dispose()
    return left
