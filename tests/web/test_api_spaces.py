"""The HTTP API for spaces: who may look, make, change and delete, and what each refusal says."""

from __future__ import annotations

import threading

import pytest

from project.api.models import ErrorBody, SpaceList, SpaceObject


def test_a_new_space_takes_a_prompt_alone_and_follows_the_sites_defaults(admin, settings):
    made = admin.post("spaces", json={"name": "Cats"})
    assert made.status_code == 201
    assert made.headers["Location"] == "/api/v1/spaces/Cats"
    space = SpaceObject.model_validate(made.json)
    assert (space.name, space.title, space.description, space.owner) == ("Cats", "Cats", "", "admin")
    assert space.inputs.model_dump() == {"prompt": True, "audio": False, "video": False, "file": False}
    assert (space.visibility, space.connected, space.queue_size, space.processing) == ("public", False, 0, 0)
    assert space.limits.timeout_seconds == settings.request_timeout
    assert space.limits.queue_length == settings.queue_length
    assert space.limits.prompt_chars == settings.max_prompt_chars
    assert space.last_connected_at is None


def test_everything_of_a_space_can_be_set_and_changed(admin, make_user):
    make_user("ann")
    fields = {
        "title": " Chats ",
        "description": "*soft*",
        "inputs": {"audio": True},
        "visibility": "private",
        "owner": "ANN",
        "queue_when_offline": True,
        "allow_app_without_token": True,
        "timeout_seconds": 1.5,
        "max_attempts": 3,
        "queue_length": 7,
    }
    assert admin.post("spaces", json={"name": "cats", **fields}).status_code == 201
    space = SpaceObject.model_validate(admin.get("spaces/CATS").json)
    assert (space.title, space.description, space.owner, space.visibility) == ("Chats", "*soft*", "ann", "private")
    assert space.inputs.model_dump() == {"prompt": True, "audio": True, "video": False, "file": False}
    assert (space.limits.timeout_seconds, space.limits.queue_length) == (1.5, 7)
    changed = admin.patch("spaces/cats", json={"title": "", "timeout_seconds": None, "inputs": {"audio": False}})
    assert changed.status_code == 200
    space = SpaceObject.model_validate(changed.json)
    assert (space.title, space.limits.timeout_seconds, space.limits.queue_length) == ("cats", 120.0, 7)
    assert space.inputs.audio is False


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": "a b"}, "name"),
        ({"name": "cats", "colour": "red"}, "colour"),
        ({"name": "cats", "timeout_seconds": 0}, "timeout_seconds"),
        ({"name": "cats", "timeout_seconds": 1e9}, "timeout_seconds"),
        ({"name": "cats", "max_attempts": 0}, "max_attempts"),
        ({"name": "cats", "queue_length": 0}, "queue_length"),
        ({"name": "cats", "visibility": "secret"}, "visibility"),
        ({"name": "cats", "inputs": {"smell": True}}, "inputs.smell"),
        ({"name": "cats", "owner": "nobody"}, "owner"),
        ({"name": "cats", "title": "a\x00b"}, "title"),
        ({"name": "cats", "title": "\ud800"}, "title"),
        ({"name": "cats", "description": "a\ud800"}, "description"),
        ({"name": "cats", "owner": "\x00"}, "owner"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_is_made(admin, body, field):
    answer = admin.post("spaces", json=body)
    assert answer.status_code == 422
    error = ErrorBody.model_validate(answer.json).error
    assert error.code == "invalid"
    assert [item["field"] for item in error.details] == [field]
    assert field in error.message
    assert admin.get("spaces").json["items"] == []


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({"data": "{", "content_type": "application/json"}, 400, "bad_request"),
        ({"data": "[" * 50_000, "content_type": "application/json"}, 400, "bad_request"),
        ({"data": "\xff", "content_type": "application/json"}, 400, "bad_request"),
        ({"data": "name=cats", "content_type": "text/plain"}, 415, "unsupported_media_type"),
        ({"json": ["cats"]}, 422, "invalid"),
        ({"json": {"name": "c", "description": "x" * 1_000_001}}, 413, "too_large"),
    ],
)
def test_an_unreadable_body_is_refused_with_the_right_status(admin, options, status, code):
    answer = admin.post("spaces", **options)
    assert (answer.status_code, answer.json["error"]["code"]) == (status, code)


def test_the_name_never_changes(admin, make_space):
    make_space("cats")
    assert admin.patch("spaces/cats", json={"name": "dogs"}).status_code == 422


def test_only_admins_make_change_and_delete(program, visitor, make_space):
    make_space("cats", owner="admin")
    calls = [("POST", "spaces", {"name": "dogs"}), ("PATCH", "spaces/cats", {}), ("DELETE", "spaces/cats", None)]
    api_only = program("admin", "api")
    for method, path, body in calls:
        assert visitor.call(method, path, json=body).status_code == 401
        assert program("ann").call(method, path, json=body).status_code == 403
        assert api_only.call(method, path, json=body).status_code == 403


def test_a_private_space_is_there_for_its_owner_and_admins_alone(admin, program, visitor, make_user, make_space):
    make_user("owner")
    make_space("secret", owner="owner", visibility="private")
    unknown = visitor.get("spaces/unknown")
    for stranger in (visitor, program("ann")):
        assert stranger.get("spaces/secret").status_code == 404
        assert stranger.get("spaces/secret").json == unknown.json
        assert stranger.get("spaces/secret/live").status_code == 404
        assert stranger.get("spaces").json["items"] == []
    for known in (program("owner"), admin):
        assert known.get("spaces/secret").status_code == 200
        assert [space["name"] for space in known.get("spaces").json["items"]] == ["secret"]
    assert program("ann").post("spaces/secret/requests", json={"prompt": "x"}).status_code == 404


def test_the_list_goes_on_at_its_cursor(visitor, make_space):
    for name in ("b", "A", "c"):
        make_space(name)
    first = SpaceList.model_validate(visitor.get("spaces?limit=2").json)
    assert [space.name for space in first.items] == ["A", "b"]
    second = SpaceList.model_validate(visitor.get(f"spaces?limit=2&cursor={first.next_cursor}").json)
    assert [space.name for space in second.items] == ["c"]
    assert second.next_cursor is None


@pytest.mark.parametrize("cursor", ["x", "!!", "W10", "WzFd", "W05hTl0", "%00", "WyJcdTAwMDAiXQ"])
def test_a_forged_cursor_is_refused(visitor, cursor):
    assert visitor.get(f"spaces?cursor={cursor}").status_code == 422


def test_deleting_a_space_ends_its_open_requests_and_keeps_its_name_with_them(admin, program, make_space):
    make_space("cats", queue_when_offline=True)
    ann = program("ann")
    request = ann.submit("cats")
    assert admin.delete("spaces/CATS").status_code == 204
    ended = ann.request(request["id"])
    assert (ended["status"], ended["error"]["code"], ended["space"]) == ("failed", "space_removed", "cats")
    assert admin.get("spaces/cats").status_code == 404
    assert admin.delete("spaces/cats").status_code == 404
    retried = ann.post(f"requests/{request['id']}/retry")
    assert retried.status_code == 404


def test_no_request_slips_in_while_its_space_is_deleted(admin, program, make_space):
    """Three callers submit all the time; whatever was accepted is ended when the space is gone."""
    make_space("cats", queue_when_offline=True, queue_length=1000)
    ann = program("ann")
    answers = [ann.post("spaces/cats/requests", json={"prompt": "x"})]

    def submit_until_refused():
        while answers[-1].status_code == 202 and len(answers) < 250:
            answers.append(ann.post("spaces/cats/requests", json={"prompt": "x"}))

    callers = [threading.Thread(target=submit_until_refused) for _ in range(3)]
    for caller in callers:
        caller.start()
    assert admin.delete("spaces/cats").status_code == 204
    for caller in callers:
        caller.join(timeout=60)
    assert {answer.status_code for answer in answers} <= {202, 404, 409}
    accepted = [answer.json["id"] for answer in answers if answer.status_code == 202]
    assert {ann.request(request_id)["error"]["code"] for request_id in accepted} == {"space_removed"}


def test_switching_a_space_off_ends_its_requests_and_refuses_new_ones(admin, program, make_space):
    make_space("cats", queue_when_offline=True)
    ann = program("ann")
    request = ann.submit("cats")
    assert admin.patch("spaces/cats", json={"enabled": False}).json["enabled"] is False
    assert ann.request(request["id"])["error"]["code"] == "space_removed"
    refused = ann.post("spaces/cats/requests", json={"prompt": "x"})
    assert (refused.status_code, refused.json["error"]["code"]) == (409, "space_disabled")


def test_a_connected_app_shows(visitor, make_space, connect):
    make_space("cats")
    assert visitor.get("spaces/cats").json["connected"] is False
    connect("cats")
    space = visitor.get("spaces/cats").json
    assert space["connected"] is True
    assert space["last_connected_at"].endswith("Z")


def test_an_app_without_a_token_must_go_when_that_is_switched_off(admin, make_space, connect):
    make_space("cats", allow_app_without_token=True)
    remote = connect("cats", owner=None)
    assert admin.patch("spaces/cats", json={"allow_app_without_token": False}).json["connected"] is False
    remote.wait_for_dismissal()


def test_the_old_owners_app_must_go_with_its_owner(admin, make_user, make_space, connect):
    for name in ("ann", "bob"):
        make_user(name)
    make_space("cats", owner="ann")
    remote = connect("cats", owner="ann")
    assert admin.patch("spaces/cats", json={"owner": "bob"}).json["connected"] is False
    remote.wait_for_dismissal()


def test_other_changes_leave_the_app_connected(admin, make_space, connect):
    make_space("cats", allow_app_without_token=True)
    connect("cats", owner=None)
    assert admin.patch("spaces/cats", json={"title": "Chats", "timeout_seconds": 5}).json["connected"] is True


def test_too_many_changes_answer_429_with_a_time(admin):
    for number in range(300):
        admin.patch(f"spaces/none{number}", json={})
    refused = admin.patch("spaces/none", json={})
    assert (refused.status_code, refused.json["error"]["code"]) == (429, "rate_limited")
    assert 1 <= int(refused.headers["Retry-After"]) <= 60


def test_an_unknown_address_and_a_wrong_method_answer_json(visitor, admin):
    assert visitor.get("nowhere").json["error"]["code"] == "not_found"
    refused = admin.call("PUT", "spaces")
    assert (refused.status_code, refused.json["error"]["code"]) == (405, "method_not_allowed")
    assert "POST" in refused.headers["Allow"]


def test_health(visitor, app):
    assert visitor.get("/healthz").json == {"status": "ok"}
    assert visitor.get("/readyz").json == {"status": "ready"}
    app.extensions["spaces"].manager.accepting = False
    draining = visitor.get("/readyz")
    assert (draining.status_code, draining.json["error"]["code"]) == (503, "shutting_down")
    assert int(draining.headers["Retry-After"]) >= 1
