"""The Socket.IO events: who connects, what the bodies mean, what is answered. Rules live in the manager.

Every handler takes whatever came (``*args``): a body that is not what the event needs is answered
``invalid`` and the connection stays usable. One connection's events are handled in order.
"""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from flask import request
from flask_socketio import ConnectionRefusedError as Refused
from flask_socketio import SocketIO
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from project import tokens
from project.config import Settings
from project.errors import DatabaseAway, Forbidden, Invalid, NotFound, RateLimited, StorageAway, StorageFull, TooLarge
from project.event_rate import EventAllowance
from project.extensions import db
from project.files import Files
from project.messages import InferenceProgress, InferenceResult, Register, parse
from project.models import Space
from project.ports import AppLink, Newcomer, Outcome, Registration
from project.tokens import TokenInfo
from project.transport import SocketTransport
from project.validation import deeper_than
from project.websocket_manager import WebsocketManager

logger = logging.getLogger(__name__)

MESSAGES = {
    "ok": "Registered.",
    "invalid": "The event could not be read.",
    "unauthorized": "This token may not connect an app to this space.",
    "unknown_space": "There is no space of this name.",
    "space_busy": "Another app is connected to this space and answers. One space name can have one connection.",
    "space_disabled": "This space is switched off.",
    "accepted": "Recorded.",
    "duplicate": "This result was recorded before.",
    "stale_attempt": "A newer attempt took the place of this one.",
    "not_owner": "Another connection was given this attempt; claim it with resume when registering.",
    "unknown_request": "No such request was given to this app.",
    "already_final": "The request had ended before.",
    "too_large": "The event is larger than the site takes.",
    "retry_later": "The site could not record this now. Send it again in a moment.",
}


TOO_LARGE = (
    "The app's result was larger than one event may be ({kilobytes:,} kilobytes). Large results go over HTTP: the app "
    "sends a file to the upload URL of its request (upload.url) and names it in its result by file_id."
)
#: How the beginning of a result looks on the wire, and which request it names.
RESULT_EVENT, MAX_EVENT_START = '"inference_result"', 64
NAMED_REQUEST = re.compile(r'"request_id"\s*:\s*"([^"\\]{1,64})"')


@dataclass(frozen=True, slots=True)
class Peer:
    """One open connection: its link and the token that opened it."""

    link: AppLink
    token: TokenInfo | None
    allowance: EventAllowance


class WebsocketHandler:
    """Binds the events to the manager."""

    def __init__(
        self,
        socketio: SocketIO,
        transport: SocketTransport,
        manager: WebsocketManager,
        files: Files,
        settings: Settings,
    ) -> None:
        self._socketio = socketio
        self._files = files
        self._transport = transport
        self._manager = manager
        self._settings = settings
        self._peers: dict[str, Peer] = {}
        for event, handler in {
            "connect": self.on_connect,
            "disconnect": self.on_disconnect,
            "register": self.on_register,
        }.items():
            socketio.on_event(event, handler)
        # These come often and need nothing of Flask, so they are spared its request context.
        server: Any = socketio.server
        server.on("inference_progress", self.on_inference_progress)
        server.on("inference_result", self.on_inference_result)
        server.on("*", self.on_anything_else)
        transport.on_oversized = self.on_oversized

    def on_connect(self, auth: object = None) -> None:
        """Let an app in by its token, or without one when some space allows that."""
        try:
            token = self._authenticate(auth)
        except (DatabaseAway, OperationalError):
            logger.warning("the database is away: a connection is put off until the app comes back")
            self._transport.hang_up(_sid())
            raise Refused(DatabaseAway.default_message, {"code": DatabaseAway.code}) from None
        link = AppLink(secrets.token_hex(16), token.id if token else None, request.remote_addr)
        if len(self._transport.of_token(link.token_id)) >= self._settings.sockets_per_token:
            raise Refused("This token has as many open connections as it may have.", {"code": RateLimited.code})
        allowance = EventAllowance(self._settings.events_per_second, self._settings.events_before_registration)
        self._peers[_sid()] = Peer(link, token, allowance)
        base = self._settings.public_url or request.host_url.rstrip("/")
        self._transport.opened(link.connection_id, _sid(), link.token_id, base)

    def _authenticate(self, auth: object) -> TokenInfo | None:
        if "token" in request.args:
            raise Refused("A token in the address is refused: send it in auth.", {"code": "unauthorized"})
        presented = auth.get("token") if isinstance(auth, dict) else None
        presented = presented or _bearer()
        if not presented:
            if not _any_space_without_token():
                raise Refused("A token is needed: send it in auth.", {"code": "unauthorized"})
            return None
        token = tokens.verify(presented, time.time()) if isinstance(presented, str) else None
        if token is None or "app" not in token.scopes:
            raise Refused("The token is not valid for an app.", {"code": "unauthorized"})
        return token

    def on_disconnect(self, _reason: object = None) -> None:
        """Forget the connection. The manager is told from a thread of its own: this may run inside its lock."""
        peer = self._peers.pop(_sid(), None)
        if peer:
            self._transport.closed(peer.link.connection_id)
            self._socketio.start_background_task(self._manager.disconnected, peer.link.connection_id)

    def on_register(self, *args: Any) -> Any:
        """Register the connection for a space; answered as an event and as an acknowledgement."""
        sid = _sid()
        if refusal := self._refused_unread(sid, "register"):
            return refusal
        answer = self._answerer(sid, _space_name(args))
        try:
            message = parse(Register, self._body(args))
        except Invalid as error:
            answer("invalid", Registration("invalid"), error.message)
            return self._transport.late()
        self._register(sid, message, answer)
        return self._transport.late()

    def _register(self, sid: str, message: Register, answer: Callable[..., None]) -> None:
        peer = self._peers[sid]
        try:
            space = db.session.scalar(select(Space).where(Space.name_key == message.space_name.lower()))
            refusal = _refusal(peer.token, space, time.time())
            if refusal or space is None:
                answer(refusal, Registration(refusal), None)
                return
            info = message.app
            link = replace(peer.link, name=info.name, version=info.version, instance=info.instance)
            self._peers[sid] = replace(peer, link=link)
            claims = [claim.attempt_id for claim in message.resume]
            space_id, space_name = space.id, space.name
            newcomer = Newcomer(
                link, message.acks, claims, lambda given: answer(given.code, given, None, space_id, space_name)
            )
            db.session.remove()
            decide_later = self._manager.register(newcomer, space_id, space_name)
        except (DatabaseAway, OperationalError):
            logger.warning("the database is away: a registration is put off until the app comes back")
            self._transport.close(peer.link.connection_id)
            return
        if decide_later:
            self._socketio.start_background_task(self._decide_later, decide_later, link.connection_id)

    def _decide_later(self, decide: Callable[[], None], connection_id: str) -> None:
        try:
            decide()
        except DatabaseAway:
            self._transport.close(connection_id)

    def _answerer(self, sid: str, named: str) -> Callable[..., None]:
        """Return what answers a registration, whenever that is decided."""
        ack_id, peer = self._transport.ack_id(sid), self._peers.get(sid)

        def answer(
            code: str, given: Registration, message: str | None, space_id: int | None = None, space_name: str = named
        ) -> None:
            if peer is None:
                return
            body = {
                "success": given.success,
                "code": code,
                "message": message or MESSAGES[code],
                "connection_id": peer.link.connection_id,
                "space_id": space_id,
                "space_name": space_name,
                "queue_size": given.queue_size,
                "limits": self._limits(),
                "resumed": list(given.resumed),
            }
            self._transport.send(peer.link.connection_id, "register_response", body)
            self._transport.acknowledge(sid, ack_id, body)
            if not given.success and code != "invalid" and not self._manager.serves(peer.link.connection_id):
                self._transport.dismiss(peer.link.connection_id)

        return answer

    def _limits(self) -> dict[str, float]:
        return {
            "event_kb": self._settings.max_event_kb,
            "upload_mb": self._settings.max_upload_mb,
            "grace_seconds": self._settings.grace,
            "ack_seconds": self._settings.ack_timeout,
        }

    def on_inference_result(self, sid: str, *args: Any) -> Any:
        """Take a result; the acknowledgement comes after the commit."""
        return self._answered("inference_result", sid, self._take_result, args)

    def _take_result(self, link: AppLink, body: object) -> str:
        message = parse(InferenceResult, body)
        request_id, attempt_id = message.request_id, message.attempt_id
        if not message.completed:
            outcome = Outcome("failed", "app_error", message.failure(), retryable=message.retryable)
            return self._manager.result(link, request_id, attempt_id, outcome)
        if deeper_than(message.result, self._settings.max_json_depth):
            raise Invalid.field("result", f"must be at most {self._settings.max_json_depth} levels deep")
        parts, in_hand = message.parts(), self._manager.in_hand(link, request_id, attempt_id)
        if in_hand is None:
            return self._manager.refuse(link, request_id, attempt_id)
        try:
            parts = self._files.completed(request_id, in_hand, parts, time.time())
        except (NotFound, Forbidden):  # the request ended, or was deleted, at this very moment
            return self._manager.refuse(link, request_id, attempt_id)
        except TooLarge as error:
            self._manager.result(link, request_id, in_hand, Outcome("failed", error.code, error.message))
            raise
        return self._manager.result(link, request_id, in_hand, Outcome("completed", parts=parts))

    def _take_too_large(self, link: AppLink, body: object) -> None:
        """End the request whose result was too large: sending it again would not make it smaller."""
        said = body if isinstance(body, dict) else {}
        request_id, attempt_id = said.get("request_id"), said.get("attempt_id")
        if isinstance(request_id, str) and isinstance(attempt_id, str | None):
            self._manager.result(link, request_id, attempt_id, self._too_large())

    def _too_large(self) -> Outcome:
        return Outcome("failed", "too_large", TOO_LARGE.format(kilobytes=self._settings.max_event_kb))

    def on_oversized(self, connection_id: str, head: str) -> None:
        """End the request whose result was too long even to be read; ``head`` is its beginning."""
        link = next((peer.link for peer in self._peers.values() if peer.link.connection_id == connection_id), None)
        if link is None or (head and RESULT_EVENT not in head[:MAX_EVENT_START]):
            return
        named, works = NAMED_REQUEST.search(head), self._manager.all_in_hand(link)
        if named:
            works = [work for work in works if work.request_id == named[1]]
        elif len(works) > 1:
            logger.warning("connection %s: its result was too large and named no request", connection_id)
            return
        for work in works:
            try:
                self._manager.end_and_leave(link, work, self._too_large())
            except DatabaseAway:
                logger.warning("request %s: the database is away, its result was too large", work.request_id)

    def on_inference_progress(self, sid: str, *args: Any) -> Any:
        """Take progress of a running attempt."""
        return self._answered("inference_progress", sid, self._take_progress, args)

    def _take_progress(self, link: AppLink, body: object) -> str:
        said = parse(InferenceProgress, body)
        return self._manager.report(
            link, said.request_id, said.attempt_id, said.value, said.message, said.delta, said.offset
        )

    def on_anything_else(self, event: str, sid: str, *_args: Any) -> Any:
        """Answer an event that the site does not know."""
        self._manager.sign_of_life(self._peers[sid].link.connection_id)
        refusal = self._refused_unread(sid, event)
        return refusal or _ack("invalid", f"The site knows no event {event[:64]!r}.")

    def _answered(self, event: str, sid: str, take: Callable[[AppLink, object], str], args: tuple[Any, ...]) -> Any:
        """Run one event's handler and turn whatever happens into an answer."""
        link = self._peers[sid].link
        self._manager.sign_of_life(link.connection_id)
        try:
            if event == "inference_result" and self._is_too_large(sid):
                self._take_too_large(link, self._body(args))
            if refusal := self._refused_unread(sid, event):
                return refusal
            return _ack(take(link, self._body(args)))
        except (Invalid, TooLarge) as error:
            return _ack(error.code, error.message)
        except (DatabaseAway, StorageAway, StorageFull):
            return _ack("retry_later")
        except Exception:
            logger.exception("an event of connection %s could not be handled", link.connection_id)
            return _ack("retry_later")

    def _is_too_large(self, sid: str) -> bool:
        return self._transport.size(sid) > self._settings.max_event_kb * 1000

    def _refused_unread(self, sid: str, event: str) -> Any:
        """Return the answer to an event that is refused before its body is looked at, or nothing."""
        peer = self._peers[sid]
        if self._is_too_large(sid):
            return _ack("too_large")
        if not peer.allowance.admits(event, time.monotonic()):
            return _ack("retry_later", f"More than {self._settings.events_per_second:g} events a second.")
        if not self._manager.serves(peer.link.connection_id) and peer.allowance.waits_too_long():
            self._transport.acknowledge(
                sid, self._transport.ack_id(sid), _ack("invalid", "Register for a space first.")
            )
            self._transport.close(peer.link.connection_id)
            return self._transport.late()
        return None

    @staticmethod
    def _body(args: tuple[Any, ...]) -> object:
        return args[0] if args else None


def _ack(code: str, message: str | None = None) -> dict[str, str]:
    return {"code": code, "message": message or MESSAGES[code]}


def _sid() -> str:
    sid: str = request.sid  # type: ignore[attr-defined]
    return sid


def _bearer() -> str | None:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" and value.strip() else None


def _space_name(args: tuple[Any, ...]) -> str:
    body = args[0] if args else None
    name = body.get("space_name") if isinstance(body, dict) else None
    return name if isinstance(name, str) else ""


def _any_space_without_token() -> bool:
    query = select(Space.id).where(Space.allow_app_without_token, Space.enabled).limit(1)
    return db.session.scalar(query) is not None


def _refusal(token: TokenInfo | None, space: Space | None, now: float) -> str:
    """Return the code with which a registration is refused, or nothing; the token may have changed meanwhile."""
    if token is not None:
        token = tokens.current(token.id, now)
        if token is None:
            return "unauthorized"
    if space is None:
        return "unknown_space"
    if not tokens.may_serve(token, space):
        return "unauthorized"
    return "" if space.enabled else "space_disabled"
