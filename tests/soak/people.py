"""Fifty people who submit, and five hundred who look: they poll, wait in held calls, or have a page open."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.soak.figures import Figures, Timing
from tests.soak.load import Load
from tests.soak.wire import Answer, Broken, Wire

FINAL = {"completed", "failed", "cancelled", "timed_out"}
#: Of a held call, in seconds. The site allows 30, but it notices only at the end of one that its caller hung up.
HELD_SECONDS = 10
#: Before a broken call is tried again, in seconds.
PAUSE = 0.5
BOUNDARY = "soak-boundary"
#: What a submit may be answered while apps come and go.
OFFLINE = "space_offline"
FILE_BYTES = 4_000


@dataclass
class Person:
    """A user with a token. ``accepted`` are the requests that the site said yes to, with their prompts."""

    name: str
    token: str
    accepted: dict[str, str] = field(default_factory=dict)
    newest: str | None = None
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def submitted(self, request_id: str, prompt: str) -> None:
        """Remember an accepted request and wake who waits for one."""
        self.accepted[request_id] = prompt
        self.newest = request_id
        self._news.set()
        self._news = asyncio.Event()

    async def next_after(self, seen: str | None) -> str:
        """Return the newest request, once it is another one than ``seen``."""
        while self.newest is None or self.newest == seen:
            await self._news.wait()
        return self.newest


class Crowd:
    """All people at one site. :meth:`start` lets them go, :meth:`stop_submitting` and :meth:`leave` end it."""

    def __init__(self, url: str, people: list[Person], spaces: list[str], load: Load, figures: Figures) -> None:
        self._url, self._people, self._spaces, self._load, self._figures = url, people, spaces, load, figures
        self._luck = random.Random(1)
        self._submitters: list[asyncio.Task[None]] = []
        self._watchers: list[asyncio.Task[None]] = []
        self._wires: list[Wire] = []
        self._begun = time.monotonic()
        self._over = asyncio.Event()
        #: What people were first told of each request that had ended.
        self.told: dict[str, dict[str, Any]] = {}

    @property
    def accepted(self) -> int:
        """How many requests the site has said yes to."""
        return sum(len(person.accepted) for person in self._people)

    def start(self) -> None:
        """Let everybody begin, each at a moment of its own."""
        load, people = self._load, self._people
        kinds = [(load.pollers, self._poll), (load.waiters, self._wait), (load.pages, self._follow)]
        for count, kind in kinds:
            self._watchers += [self._go(kind, people[number % len(people)]) for number in range(count)]
        self._submitters = [self._go(self._submit_for_ever, person) for person in people]

    async def stop_submitting(self) -> None:
        """Let nobody submit any more; what is under way is answered first."""
        self._over.set()
        await asyncio.gather(*self._submitters)

    async def leave(self) -> None:
        """Hang up everywhere."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        for wire in self._wires:
            wire.close()

    def _go(self, what: Callable[[Person, Wire], Awaitable[None]], person: Person) -> asyncio.Task[None]:
        wire = Wire(self._url, person.token)
        self._wires.append(wire)
        return asyncio.create_task(self._guarded(what, person, wire))

    async def _guarded(self, what: Callable[[Person, Wire], Awaitable[None]], person: Person, wire: Wire) -> None:
        try:
            await what(person, wire)
        except Exception as error:  # a mistake of a person must not pass for a quiet one
            self._figures.strange.append(f"{what.__name__} of {person.name} ended: {type(error).__name__}: {error}")

    # Those who look

    async def _poll(self, person: Person, wire: Wire) -> None:
        """Ask at a fixed interval for the newest request, as a page does that knows nothing better."""
        await asyncio.sleep(self._luck.uniform(0, self._load.poll_seconds))
        due = time.monotonic()
        while True:
            if person.newest:
                await self._status("poll", wire, person.newest)
            due = max(due + self._load.poll_seconds, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    async def _status(self, kind: str, wire: Wire, request_id: str) -> dict[str, Any] | None:
        answer = await self._call(kind, wire.get(f"/api/v1/requests/{request_id}"))
        if answer is None:
            return None
        self._figures.status.append(Timing(time.monotonic() - self._begun, answer.seconds))
        return self._read(answer, kind, 200)

    async def _wait(self, person: Person, wire: Wire) -> None:
        """Follow one request after the other to its end in held calls."""
        seen: str | None = None
        while True:
            request_id = await person.next_after(seen)
            found = await self._status("look", wire, request_id)
            while found and found["status"] not in FINAL:
                path = f"/api/v1/requests/{request_id}?after={found['seq']}&wait={HELD_SECONDS}"
                found = await self._held("held", wire, path)
                if found and found["finished_at"]:
                    self._note_wake(found["finished_at"])
            seen = request_id if found else seen

    def _note_wake(self, finished_at: str) -> None:
        """Both clocks are this machine's."""
        late = time.time() - datetime.fromisoformat(finished_at).timestamp()
        self._figures.woken.append(Timing(time.monotonic() - self._begun, late))

    async def _follow(self, person: Person, wire: Wire) -> None:
        """Keep the page of a space open."""
        path, cursor = f"/api/v1/spaces/{self._luck.choice(self._spaces)}/live?wait={HELD_SECONDS}", ""
        while True:
            found = await self._held("live", wire, path + cursor)
            cursor = f"&after={found['cursor']}" if found else ""

    # Those who submit

    async def _submit_for_ever(self, person: Person, wire: Wire) -> None:
        while not await self._is_over_in(self._luck.uniform(0.5, 1.5) * self._load.submit_seconds):
            request_id = await self._submit(person, wire)
            if request_id and self._luck.random() < self._load.cancelled:
                await asyncio.sleep(self._luck.uniform(0, 1))
                await self._cancel(request_id, wire)

    async def _is_over_in(self, seconds: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)
        return self._over.is_set()

    async def _submit(self, person: Person, wire: Wire) -> str | None:
        """Submit once, again after a broken call (the key makes that safe), and return the id of what was accepted."""
        prompt = f"{person.name} {secrets.token_hex(8)}"
        kind, content = self._body(prompt)
        path, key = f"/api/v1/spaces/{self._luck.choice(self._spaces)}/requests", secrets.token_hex(16)
        answer = None
        while answer is None:
            answer = await self._call("submit", wire.post(path, kind, content, Idempotency_Key=key))
        if answer.status == 503 and answer.body["error"]["code"] == OFFLINE:
            self._figures.refused[OFFLINE] += 1
            return None
        made = self._read(answer, "submit", 202, 200)
        if made is None:
            return None
        person.submitted(made["id"], prompt)
        return str(made["id"])

    def _body(self, prompt: str) -> tuple[str, bytes]:
        if self._luck.random() >= self._load.with_file:
            return "application/json", json.dumps({"prompt": prompt}).encode()
        parts = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n{prompt}\r\n--{BOUNDARY}\r\n'
        parts += 'Content-Disposition: form-data; name="file"; filename="given.bin"\r\n\r\n'
        content = parts.encode() + self._luck.randbytes(FILE_BYTES) + f"\r\n--{BOUNDARY}--\r\n".encode()
        return f"multipart/form-data; boundary={BOUNDARY}", content

    async def _cancel(self, request_id: str, wire: Wire) -> None:
        path = f"/api/v1/requests/{request_id}/cancel"
        answer = await self._call("cancel", wire.post(path, "application/json", b""))
        if answer:
            self._read(answer, "cancel", 200, 409)

    # What every call has in common

    async def _held(self, kind: str, wire: Wire, path: str) -> dict[str, Any] | None:
        answer = await self._call(kind, wire.get(path))
        return self._read(answer, kind, 200) if answer else None

    async def _call(self, kind: str, call: Awaitable[Answer]) -> Answer | None:
        self._figures.calls[kind] += 1
        try:
            return await call
        except Broken as error:
            self._figures.broken += 1
            if not self._load.kill_seconds:
                self._figures.strange.append(f"{kind}: {error}")
            await asyncio.sleep(PAUSE)
            return None

    def _read(self, answer: Answer, kind: str, *expected: int) -> dict[str, Any] | None:
        """Return the body of an expected answer. Whatever else comes is kept as strange."""
        if answer.status in expected:
            body: dict[str, Any] = answer.body
            if body.get("status") in FINAL:
                self.told.setdefault(body["id"], body)
            return body
        self._figures.strange.append(f"{kind}: {answer.status} {answer.body}")
        return None
