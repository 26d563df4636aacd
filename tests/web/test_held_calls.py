"""What held calls cost: a waiting browser must not keep the database busy."""

import http.client
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import event

from project import accounts, concurrency, create_app, space_admin, tokens
from project.config import load_settings
from project.services import KEY, Services
from project.wiring import Site
from tests.site_process import wait_until

POLLS = 200
HELD_SECONDS = 10
MOST_STATEMENTS = 50


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Services, int, str, str]]:
    """A site that serves on a real socket in this process: its parts, port, an API token and a queued request."""
    settings = {"data_dir": tmp_path, "async_mode": "threading", "rate_limits": "off", "held_calls_per_user": POLLS}
    app = create_app(load_settings(**settings))
    services: Services = app.extensions[KEY]
    listener = concurrency.open_listener("127.0.0.1", 0)
    running = Site(app, listener)
    running.prepare()
    with app.app_context():
        user = accounts.create_user("ann", "a long enough password", "admin")
        data = space_admin.SpaceCreate(name="cats", queue_when_offline=True)
        space = space_admin.create(data, user)
        _, token = tokens.create(user, "polls", ["api"], [], None, time.time())
        row = services.store.create(space.id, user.id, "ann", "hello", {}, connected=False, now=time.time())
    thread = threading.Thread(target=running.serve, daemon=True)
    thread.start()
    yield services, listener.getsockname()[1], token, row["id"]
    running.request_stop()
    thread.join(20)
    services.database.engine.dispose()
    assert not thread.is_alive()


def test_held_polls_cost_next_to_no_statements(site: tuple[Services, int, str, str]) -> None:
    """200 polls held for 10 s, the sweeps running beside them: under 50 statements while they are held."""
    services, port, token, request_id = site
    statements: list[str] = []
    event.listen(services.database.engine, "before_cursor_execute", lambda *heard: statements.append(str(heard[2])))

    def poll(_: int) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        path = f"/api/v1/requests/{request_id}?until=final&wait=30"
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        status = connection.getresponse().status
        connection.close()
        return status

    with ThreadPoolExecutor(POLLS) as pool:
        polls = [pool.submit(poll, number) for number in range(POLLS)]
        wait_until(lambda: services.notifier.waiters() == POLLS, "all polls are held", 60)
        statements.clear()
        ends = time.monotonic() + HELD_SECONDS
        wait_until(lambda: time.monotonic() >= ends, "the time passed", HELD_SECONDS + 5)
        heard = [text for text in statements if not text.startswith("BEGIN")]
        assert services.notifier.waiters() == POLLS
        assert len(heard) < MOST_STATEMENTS, "\n".join(heard)
        services.manager.cancel(request_id)
        assert {answer.result(60) for answer in polls} == {200}
