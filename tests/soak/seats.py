"""The place of an app at a space, and how its holder comes and goes: our package, or plain python-socketio."""

from __future__ import annotations

import secrets
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

from socketio.exceptions import SocketIOError

from spaces_app import App, Observer
from spaces_app.outbox import Kept
from tests.faults.apps import SECONDS, FaultApp
from tests.site_process import wait_until

#: For how long somebody who left stays away, in seconds.
AWAY_SECONDS = 0.7
#: Until somebody who comes has the place, in seconds; a killed site comes back meanwhile.
PATIENCE_SECONDS = 60.0
Compute = Callable[[], float]


_one_speaker = threading.Lock()


def say(*words: object) -> None:
    """Print one line, whole and at once, whichever thread speaks."""
    with _one_speaker:
        print(*words, flush=True)


class Seat(ABC):
    """One space and whoever serves it now. ``acts`` names the methods that churn may call while it holds ``busy``."""

    acts: tuple[str, ...] = ()

    def __init__(self, url: str, token: str, space: str, compute: Compute) -> None:
        self.url, self.token, self.space, self.compute = url, token, space, compute
        self.instance = secrets.token_hex(8)
        self.busy = threading.Lock()
        self._never = threading.Event()

    @abstractmethod
    def sit_down(self) -> None:
        """Begin to serve the space."""

    @abstractmethod
    def stand_up(self) -> None:
        """Say goodbye."""

    @abstractmethod
    def look(self) -> None:
        """Come back if the connection is gone and nothing else brings it back."""

    def leave(self) -> None:
        """Go cleanly and come back after a while."""
        self.stand_up()
        self._never.wait(AWAY_SECONDS)
        self.sit_down()


class Listener(Observer):
    """Says what the apps of the package are told."""

    def __init__(self) -> None:
        self.registered = threading.Event()
        self.cut = self.replaced = False

    def on_registered(self, space: str, queue_size: int, resumed: int) -> None:
        """It serves."""
        self.cut = False
        self.registered.set()

    def on_result(self, kept: Kept, code: str, message: str) -> None:
        """Most results are accepted."""
        if code != "accepted":
            say("ack", code)

    def on_refused(self, space: str, code: str, message: str) -> None:
        """Fine if another one of the same instance came on purpose."""
        if not self.replaced:
            say("strange", space, "refused:", code, message)

    def on_lost(self, message: str) -> None:
        """Fine if it was cut or replaced on purpose."""
        if not self.cut and not self.replaced:
            say("lost", "package")


class PackageSeat(Seat):
    """Served with our package, which comes back by itself and claims what it had in hand."""

    acts = ("cut", "leave", "newcomer")

    def look(self) -> None:
        """The package comes back by itself."""

    def sit_down(self) -> None:
        """Run an app in a thread, and wait until it is registered."""
        self._listener = Listener()
        self._app = App(self.url, self.token, instance=self.instance, observer=self._listener)
        self._app.serve(self.space, self._answer)
        self._thread = threading.Thread(target=self._app.run, daemon=True)
        self._thread.start()
        if not self._listener.registered.wait(PATIENCE_SECONDS):
            say("strange", self.space, "did not register in time")

    def stand_up(self) -> None:
        """Stop the app."""
        self._app.stop()
        self._thread.join(SECONDS)

    def cut(self) -> None:
        """Break the transport; the app comes back by itself."""
        self._listener.cut = True
        self._app.cut()

    def newcomer(self) -> None:
        """Start a second one of the same instance, which takes the place of the first."""
        before = self._thread
        self._listener.replaced = True
        self.sit_down()
        before.join(PATIENCE_SECONDS)
        if before.is_alive():
            say("strange", self.space, "the replaced app did not end")

    def _answer(self, prompt: str, file: Path | None = None) -> str:
        self._never.wait(self.compute())
        return f"{prompt} {file.stat().st_size if file else 0}"


class Plain(FaultApp):
    """A plain app: it takes its time, and answers with the prompt and the size of the file."""

    def __init__(self, url: str, token: str, compute: Compute) -> None:
        self._compute = compute
        super().__init__(url, token)

    def on_request(self, request: dict[str, Any]) -> None:
        """Answer, and say how that was taken."""
        threading.Event().wait(self._compute())
        size = sum(file["size"] for file in request["files"])
        code = self.answer(request, f"{request['payload']['prompt']} {size}")
        if code != "accepted":
            say("ack", code)


class PlainSeat(Seat):
    """Served with plain python-socketio, that neither acknowledges nor claims, and forgets what it had in hand."""

    acts = ("drop", "leave", "newcomer", "intruder")
    _app: Plain | None = None

    def sit_down(self) -> None:
        """Connect, again and again until it serves."""
        wait_until(self._try_to_sit_down, f"{self.space} takes its app", PATIENCE_SECONDS, step=0.3)

    def stand_up(self) -> None:
        """Hang up."""
        if self._app:
            self._app.close()
            self._app = None

    def look(self) -> None:
        """Come back after a loss."""
        with self.busy:
            if self._app and not self._app.is_connected():
                say("lost", "plain")
                self.stand_up()
                self.sit_down()

    def drop(self) -> None:
        """Break the transport without a word and come back."""
        if self._app:
            self._app.drop()
        super().leave()

    def leave(self) -> None:
        """Say goodbye first, where there is a connection."""
        if self._app and self._app.is_connected():
            self._app.client.disconnect()
        super().leave()

    def newcomer(self) -> None:
        """Let a second one of the same instance take the place of the first."""
        before, self._app = self._app, None
        self.sit_down()
        if before:
            before.wait_gone()
            before.close()

    def intruder(self) -> None:
        """Somebody else tries to get the space while the first still answers: refused."""
        stranger = Plain(self.url, self.token, self.compute)
        answer = stranger.register(self.space)
        if answer["success"] or answer["code"] != "space_busy":
            say("strange", self.space, "an intruder was told", answer)
        stranger.close()

    def _try_to_sit_down(self) -> bool:
        try:
            app = Plain(self.url, self.token, self.compute)
        except SocketIOError:
            return False
        try:
            taken = app.register(self.space, app={"name": "plain", "instance": self.instance})["success"]
        except (SocketIOError, AssertionError):  # the site was killed just now
            taken = False
        if taken:
            self._app = app
        else:
            app.close()
        return bool(taken)
