"""The parts of spaces_app that need no network: what is kept, claimed, sent again, and read from handlers."""

from __future__ import annotations

import json
import logging
import stat
import time
from collections.abc import Callable
from typing import Any

import pytest

from spaces_app import App, Media, NoAnswer, Observer, Request, TransferError
from spaces_app.answers import compute, in_size
from spaces_app.backoff import CAP, Backoff
from spaces_app.credentials import CredentialsError, find_common_token, find_token, save_token, site_key
from spaces_app.desk import Desk
from spaces_app.link import Link, describe, is_passing, site_address
from spaces_app.outbox import ACK_SECONDS, FINAL, Kept, Outbox
from spaces_app.pace import PAUSE_SECONDS
from spaces_app.served import Served

HOST = "http://localhost:5001"


def kept(request_id: str = "r1", attempt_id: str = "a1", space: str = "cats", **fields: Any) -> Kept:
    return Kept(request_id, attempt_id, space, {"status": "completed", "result": {"text": "x"}}, **fields)


def wire_body(request_id: str = "r1", attempt_id: str = "a1", **fields: Any) -> dict[str, Any]:
    payload = {"prompt": "hello", "parameters": {"k": 1}}
    return {"request_id": request_id, "attempt_id": attempt_id, "space_name": "Cats", "payload": payload, **fields}


class TestOutbox:
    def test_a_result_is_due_at_once_and_again_only_after_the_ack_time(self) -> None:
        outbox = Outbox()
        outbox.keep(kept())
        assert len(outbox.due(0.0, {"cats"})) == 1
        assert outbox.due(ACK_SECONDS - 0.1, {"cats"}) == []
        assert outbox.due(ACK_SECONDS, {"cats"})[0].tries == 2

    def test_nothing_is_due_for_a_space_that_is_not_registered(self) -> None:
        outbox = Outbox()
        outbox.keep(kept())
        assert outbox.due(0.0, {"dogs"}) == []

    @pytest.mark.parametrize("code", sorted(FINAL))
    def test_a_final_code_settles(self, code: str) -> None:
        outbox = Outbox()
        outbox.keep(kept())
        outbox.due(0.0, {"cats"})
        assert outbox.settle("r1", "a1", code, 1.0) is not None
        assert outbox.due(1_000.0, {"cats"}) == []
        assert outbox.claims("cats") == []

    @pytest.mark.parametrize("code", ["retry_later", "a_code_of_the_future"])
    def test_any_other_code_sends_it_again_after_a_short_wait(self, code: str) -> None:
        outbox = Outbox()
        outbox.keep(kept())
        outbox.due(0.0, {"cats"})
        assert outbox.settle("r1", "a1", code, 1.0) is None
        assert outbox.due(1.0, {"cats"}) == []
        assert len(outbox.due(1.0 + CAP, {"cats"})) == 1

    def test_a_lost_connection_makes_everything_due_again(self) -> None:
        outbox = Outbox()
        outbox.keep(kept())
        outbox.due(0.0, {"cats"})
        outbox.connection_lost()
        assert len(outbox.due(0.1, {"cats"})) == 1

    def test_a_new_attempt_takes_over_the_kept_result(self) -> None:
        outbox = Outbox()
        outbox.keep(kept())
        outbox.due(0.0, {"cats"})
        assert outbox.adopt("r1", "a2") is not None
        assert [one.body["attempt_id"] for one in outbox.due(0.1, {"cats"})] == ["a2"]
        assert outbox.settle("r1", "a1", "stale_attempt", 0.2) is None, "an ack of the old attempt settled the new one"
        assert outbox.claims("cats") == [{"request_id": "r1", "attempt_id": "a2"}]

    def test_a_result_refused_as_stale_still_answers_the_next_attempt(self) -> None:
        outbox = Outbox()
        outbox.keep(kept())
        outbox.settle("r1", "a1", "stale_attempt", 0.0)
        assert outbox.due(0.0, {"cats"}) == []
        assert outbox.adopt("r1", "a2") is not None
        assert len(outbox.due(0.0, {"cats"})) == 1

    @pytest.mark.parametrize("code", ["accepted", "already_final"])
    def test_a_recorded_result_answers_nothing_more(self, code: str) -> None:
        outbox = Outbox()
        outbox.keep(kept())
        outbox.settle("r1", "a1", code, 0.0)
        assert outbox.adopt("r1", "a2") is None

    def test_a_result_of_a_cancelled_computation_is_not_reused(self) -> None:
        outbox = Outbox()
        outbox.keep(kept(reusable=False))
        assert outbox.adopt("r1", "a2") is None

    def test_a_dropped_space_leaves_nothing(self) -> None:
        outbox = Outbox()
        outbox.keep(kept())
        outbox.keep(kept("r2", space="dogs"))
        outbox.forget_space("cats")
        assert [one.request_id for one in outbox.due(0.0, {"cats", "dogs"})] == ["r2"]


class TestBackoff:
    def test_waits_stay_between_almost_nothing_and_the_cap(self) -> None:
        backoff = Backoff()
        waits = [backoff.next() for _ in range(200)]
        assert all(0 < wait <= CAP for wait in waits)
        assert max(waits[5:]) > CAP / 2, "the bound never grew"
        assert len(set(waits)) > 100, "no jitter"

    def test_the_first_wait_after_a_success_is_short(self) -> None:
        backoff = Backoff()
        for _ in range(20):
            backoff.next()
        backoff.reset()
        assert backoff.next() <= 0.5


class RecordingWire:
    """The loop's side of a desk: does what is posted at once, and records what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []
        self.acks: list[Callable[[dict[str, Any]], None] | None] = []

    def post(self, message: Callable[[], object]) -> None:
        message()

    def emit(self, event: str, body: Any, ack: Callable[[dict[str, Any]], None] | None = None) -> bool:
        self.sent.append((event, body))
        self.acks.append(ack)
        return True


class RecordingLane:
    """A lane that computes nothing by itself."""

    def __init__(self) -> None:
        self.lined_up: list[Request] = []

    def put(self, request: Request) -> None:
        self.lined_up.append(request)


class DeskTable:
    """A desk with one space, whose lane is computed by hand."""

    def __init__(self) -> None:
        self.wire = RecordingWire()
        self.desk = Desk(self.wire, Observer())
        self.served = Served("cats", lambda prompt: prompt, self.desk.done)
        self.lane = RecordingLane()
        self.served.lane = self.lane  # type: ignore[assignment]

    def take(self, **fields: Any) -> None:
        self.desk.take(self.served, wire_body(**fields), 0)

    def finish(self, index: int = 0, text: str = "x") -> None:
        self.desk.done(self.served, self.lane.lined_up[index], {"status": "completed", "result": {"text": text}})

    def sent_now(self, now: float = 0.0) -> list[dict[str, Any]]:
        before = len(self.wire.sent)
        self.desk.send_due(now, {"cats"})
        return [body for _, body in self.wire.sent[before:]]


@pytest.fixture
def table() -> DeskTable:
    return DeskTable()


class TestDesk:
    def test_claims_cover_what_is_in_hand_and_what_is_finished(self, table: DeskTable) -> None:
        table.take()
        table.take(request_id="r2", attempt_id="a2")
        table.finish(0)
        claims = table.desk.claims("cats")
        assert {claim["attempt_id"] for claim in claims} == {"a1", "a2"}
        assert table.desk.claims("dogs") == []

    def test_a_redelivered_request_is_answered_from_the_kept_result(self, table: DeskTable) -> None:
        table.take()
        table.finish(text="first")
        assert len(table.sent_now()) == 1
        table.take(attempt_id="a2", attempt=2, redelivered=True)
        assert len(table.lane.lined_up) == 1, "it was computed twice"
        assert [(one["attempt_id"], one["result"]) for one in table.sent_now()] == [("a2", {"text": "first"})]

    def test_a_redelivery_during_the_computation_does_not_start_a_second_one(self, table: DeskTable) -> None:
        table.take()
        table.take(attempt_id="a2", attempt=2, redelivered=True)
        assert len(table.lane.lined_up) == 1
        assert [claim["attempt_id"] for claim in table.desk.claims("cats")] == ["a2"]
        table.finish()
        assert [one["attempt_id"] for one in table.sent_now()] == ["a2"]

    def test_a_computation_that_never_saw_its_cancel_answers_the_next_attempt(self, table: DeskTable) -> None:
        table.take()
        table.desk.cancel("a1", "stale_attempt")
        table.take(attempt_id="a2", attempt=2, redelivered=True)
        assert len(table.lane.lined_up) == 1
        assert not table.lane.lined_up[0].cancelled.is_set()

    def test_a_computation_that_saw_its_cancel_is_done_again(self, table: DeskTable) -> None:
        table.take()
        table.desk.cancel("a1", "stale_attempt")
        assert table.lane.lined_up[0].cancelled.is_set()
        table.take(attempt_id="a2", attempt=2, redelivered=True)
        assert len(table.lane.lined_up) == 2
        table.finish(0)
        assert table.desk.claims("cats") != []
        table.take(attempt_id="a3", attempt=3, redelivered=True)
        assert [claim["attempt_id"] for claim in table.desk.claims("cats")] == ["a3", "a1"]

    def test_the_same_delivery_twice_is_one(self, table: DeskTable) -> None:
        table.take()
        table.take()
        assert len(table.lane.lined_up) == 1

    def test_a_cancel_that_overtakes_its_request_is_heeded(self, table: DeskTable) -> None:
        table.desk.cancel("a1", "cancelled_by_user")
        table.take()
        assert table.lane.lined_up[0].cancelled.is_set()

    @pytest.mark.parametrize("code", ["too_large", "invalid"])
    def test_a_result_that_the_site_does_not_take_is_reported_once_as_a_failure(
        self, table: DeskTable, code: str
    ) -> None:
        table.take()
        table.finish()
        table.sent_now()
        for _ in range(2):
            ack = table.wire.acks[-1]
            assert ack
            ack({"code": code, "message": "no"})
            table.sent_now()
        bodies = [body for event, body in table.wire.sent if event == "inference_result"]
        assert [body["status"] for body in bodies] == ["completed", "failed"]
        assert "result" in bodies[1]["error"]

    def test_an_answer_above_the_limit_becomes_a_failure_that_says_so(self, table: DeskTable) -> None:
        table.served.heed({"event_kb": 2})
        table.take()
        table.finish(text="x" * 3_000)
        (sent,) = table.sent_now()
        assert sent["status"] == "failed"
        assert "too large" in sent["error"]
        assert "go as files" in sent["error"]

    def test_progress_is_sent_only_while_the_request_is_in_hand(self, table: DeskTable) -> None:
        table.take()
        request = table.lane.lined_up[0]
        request.progress(0.5, "half")
        table.finish()
        request.progress(0.9, "too late")
        body = {"request_id": "r1", "attempt_id": "a1", "value": 0.5, "message": "half"}
        assert [sent for event, sent in table.wire.sent if event == "inference_progress"] == [body]

    def test_progress_in_quick_succession_is_thinned_out_and_its_newest_is_sent(self, table: DeskTable) -> None:
        table.take()
        for number in range(50):
            table.lane.lined_up[0].progress(number / 100, "")
        sent = table.sent_now(time.monotonic() + PAUSE_SECONDS)
        assert sent[-1]["value"] == 0.49
        assert len(table.wire.sent) < 20
        assert table.sent_now(time.monotonic() + 2 * PAUSE_SECONDS) == []

    def test_a_computation_that_goes_on_as_a_later_attempt_has_that_one_s_links(self, table: DeskTable) -> None:
        first, second = ({"url": f"http://x/{number}?signature=y"} for number in (1, 2))
        table.take(files=[first], upload=first)
        table.take(attempt_id="a2", attempt=2, redelivered=True, files=[second], upload=second)
        (running,) = table.lane.lined_up
        assert running.files[0].url == second["url"]
        assert running._site_files.upload_url == second["url"]

    def test_an_answer_that_lacks_a_file_is_for_its_attempt_only(self, table: DeskTable) -> None:
        table.take()
        running = table.lane.lined_up[0]
        with pytest.raises(TransferError):
            running.send(Media(b"x"))
        running.close()
        table.take(attempt_id="a2", attempt=2, redelivered=True)
        assert len(table.lane.lined_up) == 2, "the later attempt is given the failure of the earlier"
        table.finish(0)
        table.take(attempt_id="a3", attempt=3, redelivered=True)
        assert [claim["attempt_id"] for claim in table.desk.claims("cats")] == ["a3", "a1"]

    def test_at_stop_the_files_of_what_runs_are_deleted(self, table: DeskTable) -> None:
        table.take()
        folder = table.lane.lined_up[0].folder
        table.desk.close()
        assert not folder.exists()

    def test_a_dropped_space_cancels_what_runs(self, table: DeskTable) -> None:
        table.take()
        table.desk.forget_space("cats")
        assert table.lane.lined_up[0].cancelled.is_set()


def by_annotation(question: str) -> str:
    return question


def by_name(prompt):  # type: ignore[no-untyped-def]
    return prompt


def by_request(request: Request) -> str:
    return request.prompt


class TestHandlers:
    @pytest.mark.parametrize("handler", [by_annotation, by_name, by_request])
    def test_the_signature_decides_what_a_handler_gets(self, handler: Callable[..., Any]) -> None:
        answer = compute(handler, Request.from_wire(wire_body()))
        assert answer == {"status": "completed", "result": {"parts": [{"type": "text", "text": "hello"}]}}

    def test_a_handler_without_parameters_is_refused_when_it_is_added(self) -> None:
        with pytest.raises(TypeError):
            App(HOST).serve("cats", lambda: "x")

    def test_an_object_is_sent_as_it_is_and_a_list_as_parts(self) -> None:
        request = Request.from_wire(wire_body())
        assert compute(lambda _request: {"a": 1}, request) == {"status": "completed", "result": {"a": 1}}
        parts = [{"type": "text", "text": "x"}, {"type": "json", "data": 1}]
        answer = compute(lambda _request: ["x", parts[1]], request)
        assert answer == {"status": "completed", "result": {"parts": parts}}

    @pytest.mark.parametrize("value", [None, 5, {"a": float("nan")}, {"a": object()}])
    def test_what_cannot_be_sent_is_a_failure(self, value: object) -> None:
        answer = compute(lambda _request: value, Request.from_wire(wire_body()))
        assert answer
        assert answer["status"] == "failed"
        assert answer["error"]

    def test_an_exception_is_a_failure_with_its_message(self) -> None:
        def broken(_request: Request) -> str:
            raise RuntimeError("out of memory")

        assert compute(broken, Request.from_wire(wire_body())) == {"status": "failed", "error": "out of memory"}

    def test_silence_sends_nothing(self) -> None:
        def silent(_request: Request) -> str:
            raise NoAnswer

        assert compute(silent, Request.from_wire(wire_body())) is None

    def test_a_request_cancelled_before_its_turn_is_not_computed(self) -> None:
        request = Request.from_wire(wire_body())
        request.cancelled.set()
        answer = compute(lambda _request: pytest.fail("it was computed"), request)
        assert answer
        assert answer["status"] == "failed"

    def test_the_size_counts_the_bytes_on_the_wire(self) -> None:
        answer = {"status": "completed", "result": {"text": "é" * 200}}
        assert in_size(answer, 2.0) is answer
        assert in_size(answer, 1.0)["status"] == "failed"


class TestRequest:
    def test_it_reads_the_wire(self) -> None:
        fields = {"attempt": 2, "redelivered": True, "deadline_at": "2030-01-01T00:00:00.000Z", "username": "ann"}
        link = {"field": "audio", "name": "a.wav", "size": 5, "sha256": "AB", "url": "http://x/?signature=y"}
        request = Request.from_wire(wire_body(**fields, files=[link, {"name": "no address"}, "nonsense"]))
        assert (request.prompt, request.parameters) == ("hello", {"k": 1})
        assert (request.attempt, request.redelivered) == (2, True)
        assert request.deadline_at
        assert request.deadline_at.isoformat() == "2030-01-01T00:00:00+00:00"
        (file,) = request.files
        assert (file.field, file.name, file.size, file.sha256) == ("audio", "a.wav", 5, "ab")
        assert request.audio is file
        assert (request.video, request.file) == (None, None)

    @pytest.mark.parametrize("files", [None, "nonsense", 5, [None, 5, {"url": 5}]])
    def test_strange_files_are_no_files(self, files: object) -> None:
        assert Request.from_wire(wire_body(files=files, upload="nonsense", timeout_seconds="soon")).files == []

    @pytest.mark.parametrize("missing", ["request_id", "attempt_id", "space_name"])
    def test_without_its_ids_it_is_refused(self, missing: str) -> None:
        with pytest.raises(ValueError, match="without"):
            Request.from_wire({key: value for key, value in wire_body().items() if key != missing})


class TestAddresses:
    @pytest.mark.parametrize("host", ["localhost:5001", "http://localhost:5001/", "http://localhost:5001/spaces/x"])
    def test_only_the_site_remains(self, host: str) -> None:
        assert site_address(host) == HOST

    @pytest.mark.parametrize("host", ["", "ftp://x", "http://", "http://x/?token=abc", "http://me:secret@x"])
    def test_a_token_in_an_address_and_nonsense_are_refused(self, host: str) -> None:
        with pytest.raises(ValueError, match=r"address"):
            site_address(host)

    def test_a_site_that_is_down_is_named_in_plain_words(self) -> None:
        outer = RuntimeError("Connection error")
        outer.__context__ = ConnectionRefusedError(111, "refused")
        assert describe(outer, HOST) == f"Connection refused: no site answers at {HOST}"


class TestLogs:
    def test_the_libraries_print_no_packets_with_tokens_in_them(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.DEBUG):
            library = Link(HOST, "spaces_secret", Observer())._sio  # type: ignore[arg-type]
            for log in (library.logger, library.eio.logger):
                assert not log.isEnabledFor(logging.INFO)
                assert log.isEnabledFor(logging.WARNING)


class TestRefusedConnections:
    @pytest.mark.parametrize(
        "refusal",
        [
            {"message": "No.", "data": {"code": "shutting_down"}},
            {"message": "The site is restarting."},
            {"message": "Not now, try again in a moment.", "data": None},
        ],
    )
    def test_some_pass(self, refusal: dict[str, Any]) -> None:
        assert is_passing(refusal)

    @pytest.mark.parametrize(
        "refusal", [{"message": "The token is not valid.", "data": {"code": "unauthorized"}}, {"message": "No."}, {}]
    )
    def test_the_others_are_final(self, refusal: dict[str, Any]) -> None:
        assert not is_passing(refusal)


class TestCredentials:
    def test_names_ignore_case_and_local_addresses_are_one(self, tmp_path: Any) -> None:
        path = tmp_path / "app-credentials.json"
        save_token("http://localhost:5001/", "Cats", "one", path)
        assert find_token("http://127.0.0.1:5001", "cATS", path) == "one"
        assert find_token("http://127.0.0.1:5002", "Cats", path) is None
        assert find_token(HOST, "dogs", path) is None
        save_token(HOST, "CATS", "two", path)
        assert json.loads(path.read_text()) == {HOST: {"CATS": "two"}}

    def test_only_its_owner_may_read_it(self, tmp_path: Any) -> None:
        path = tmp_path / "folder" / "app-credentials.json"
        save_token(HOST, "cats", "one", path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert [one.name for one in path.parent.iterdir()] == [path.name]
        path.chmod(0o644)
        with pytest.raises(CredentialsError, match="chmod 600"):
            find_token(HOST, "cats", path)

    def test_without_a_file_there_is_no_token(self, tmp_path: Any) -> None:
        assert find_token(HOST, "cats", tmp_path / "none.json") is None

    def test_a_broken_file_says_so(self, tmp_path: Any) -> None:
        path = tmp_path / "app-credentials.json"
        path.touch(mode=0o600)
        with pytest.raises(CredentialsError, match="JSON"):
            find_token(HOST, "cats", path)

    def test_one_connection_carries_one_token(self, tmp_path: Any) -> None:
        path = tmp_path / "app-credentials.json"
        save_token(HOST, "cats", "one", path)
        save_token(HOST, "dogs", "one", path)
        assert find_common_token(HOST, ["cats", "dogs"], path) == "one"
        save_token(HOST, "dogs", "two", path)
        with pytest.raises(CredentialsError, match="share"):
            find_common_token(HOST, ["cats", "dogs"], path)

    def test_default_ports_are_left_out_alike(self) -> None:
        assert site_key("https://Example.org") == site_key("https://example.org:443/") == site_key("wss://example.org")
