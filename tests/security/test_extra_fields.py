"""Fields that nobody asked for, and fields that come twice, give nobody more than they may have."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from tests.faults.filer import Waiting
from tests.http_caller import HttpCaller
from tests.security.scene import Scene
from tests.site_process import SiteProcess

PASSWORD = "a long enough secret"
#: What the rows of the site have, and no caller may write.
COLUMNS = (
    *("id", "role", "is_admin", "admin", "active", "user_id", "username_key", "password_hash", "session_key"),
    *("owner_id", "space_id", "space_name", "name_key", "next_number", "status", "result", "attempt", "attempt_id"),
    *("created_at", "updated_at", "finished_at", "number", "error_code", "retry_of", "token_hash", "all_spaces"),
    *("revoked_at", "last_used_at", "prefix", "token", "epoch", "process_id", "seq", "__class__", "_method"),
)
EXTRA: dict[str, Any] = dict.fromkeys(COLUMNS, "1") | {"role": "admin", "is_admin": True, "status": "completed"}


def test_signing_up_makes_an_ordinary_account_whatever_else_is_sent(site: SiteProcess, scene: Scene) -> None:
    name, caller = f"new-{secrets.token_hex(4)}", HttpCaller(site.url)
    form = {**EXTRA, "username": name, "password": PASSWORD, "confirm": PASSWORD}
    form["csrf_token"] = caller._csrf("/register")
    assert caller.call("POST", "/register", data=form, allow_redirects=False).status_code == 302
    assert caller.call("GET", "/admin/", allow_redirects=False).status_code == 404
    row = next(row for row in scene.memory()["users"] if row["username"] == name)
    assert (row["role"], row["active"], row["username_key"]) == ("user", 1, name)
    assert row["id"] > 1
    assert row["password_hash"].startswith("$argon2id$")
    assert len(row["session_key"]) > 20


def test_a_password_is_changed_for_oneself_alone(site: SiteProcess, scene: Scene, eve: HttpCaller) -> None:
    others = [row for row in scene.memory()["users"] if row["username"] != "eve"]
    form = {**EXTRA, "username": "admin", "current_password": "wrong", "new_password": PASSWORD, "confirm": PASSWORD}
    form |= {"id": 1, "user_id": 1, "csrf_token": eve.http.headers["X-CSRFToken"]}
    answer = eve.call("POST", "/account/password", data=form, params={"user_id": 1, "id": 1})
    assert answer.status_code == 422
    assert [row for row in scene.memory()["users"] if row["username"] != "eve"] == others


@pytest.mark.parametrize("name", COLUMNS)
def test_the_api_refuses_fields_that_it_does_not_know(
    scene: Scene, admin: HttpCaller, eve: HttpCaller, name: str
) -> None:
    """All that come as JSON or as a form; nothing is made."""
    before, value = scene.memory(), EXTRA[name]
    as_form = {"prompt": (None, "hello"), name: (None, str(value))}
    answers = [
        eve.call("POST", f"spaces/{scene.public}/requests", json={"prompt": "hello", name: value}),
        eve.call("POST", f"spaces/{scene.public}/requests", files=as_form),
        eve.call("POST", f"/spaces/{scene.public}", files=as_form),
        eve.call("POST", "tokens", json={"name": "x", "scopes": ["api"], name: value}),
        admin.call("POST", "spaces", json={"name": "brandnew", name: value}),
        admin.call("PATCH", f"spaces/{scene.public}", json={name: value}),
    ]
    assert [answer.status_code for answer in answers] == [422] * len(answers), [answer.text[:90] for answer in answers]
    assert scene.memory() == before


def test_what_an_app_says_beside_its_result_changes_nothing(
    site: SiteProcess, admin: HttpCaller, eve: HttpCaller
) -> None:
    """Unknown keys of events are ignored, so that either side can grow; none of them reaches a row."""
    space = admin.make_space()
    app = Waiting(site.url, admin.make_token(spaces=[space])).serve(space, **EXTRA | {"space_name": space})
    sent = eve.submit(space, "hello")
    request = app.next("inference_request")
    about = {"request_id": request["request_id"], "attempt_id": request["attempt_id"]}
    app.call("inference_progress", {**EXTRA, **about, "value": 0.5})
    body = {**EXTRA, **about, "status": "completed", "result": {"parts": [{"type": "text", "text": "x", **EXTRA_PART}]}}
    assert app.call("inference_result", body)["code"] == "accepted"
    done = eve.wait_final(sent["id"])
    assert (done["status"], done["space"], done["attempt"], done["retry_of"]) == ("completed", space, 1, None)
    assert done["output"] == [{"type": "text", "text": "x"}]
    app.close()


#: What a part of a result may not bring along: a path, or somebody else's file.
EXTRA_PART = {"url": "https://evil.example/x", "path": "/etc/passwd", "file_id": "0" * 32, "sha256": "x", "id": 1}


def test_a_result_names_no_file_of_another_request(site: SiteProcess, admin: HttpCaller, scene: Scene) -> None:
    space = admin.make_space()
    app = Waiting(site.url, admin.make_token(spaces=[space])).serve(space)
    sent = admin.submit(space, "hello")
    request = app.next("inference_request")
    about = {"request_id": request["request_id"], "attempt_id": request["attempt_id"], "status": "completed"}
    for file in (scene.request["output"][0], scene.request["input"]["files"][0]):
        part = {"type": "file", "file_id": file["file_id"]}
        assert app.call("inference_result", {**about, "result": {"parts": [part]}})["code"] == "invalid"
    assert admin.request(sent["id"])["status"] == "processing"
    assert app.answer(request) == "accepted"
    app.close()


# The same field twice (HTTP parameter pollution)


def test_of_two_targets_the_one_that_is_checked_is_the_one_that_is_used(eve: HttpCaller) -> None:
    for query in ("next=/requests&next=//evil.example", "next=//evil.example&next=/requests"):
        location = eve.call("GET", f"/login?{query}", allow_redirects=False).headers["Location"]
        assert location in ("/requests", "/"), query


def test_a_scope_hidden_behind_an_allowed_one_is_refused(eve: HttpCaller) -> None:
    before = eve.json("GET", "tokens")
    fields = [("name", "x"), ("scopes", "api"), ("scopes", "admin"), ("expires", "7")]
    assert eve.call("POST", "/account/tokens", data=fields).status_code == 422
    twice = '{"name": "x", "scopes": ["api"], "scopes": ["admin"]}'
    answer = eve.call("POST", "tokens", data=twice, headers={"Content-Type": "application/json"})
    assert answer.status_code == 403
    assert eve.json("GET", "tokens") == before


def test_a_name_that_comes_twice_is_one_person(site: SiteProcess, scene: Scene) -> None:
    caller, names = HttpCaller(site.url), [f"twin-{secrets.token_hex(4)}" for _ in range(2)]
    fields = [("username", name) for name in names] + [("password", PASSWORD), ("confirm", PASSWORD)]
    fields += [("csrf_token", caller._csrf("/register"))]
    assert caller.call("POST", "/register", data=fields, allow_redirects=False).status_code == 302
    assert len([row for row in scene.memory()["users"] if row["username"] in names]) == 1


def test_a_signature_beside_another_one_opens_nothing(scene: Scene, visitor: HttpCaller) -> None:
    url = scene.request["output"][0]["url"]
    for query in ("signature=x&signature=y", "attempt=a&attempt=b&expires=9999999999&signature=x", "signature[]=x"):
        assert visitor.call("GET", f"{url}?{query}").status_code in (401, 404, 422), query


def test_a_csrf_token_in_the_query_is_none(scene: Scene, eve: HttpCaller) -> None:
    token = str(eve.http.headers["X-CSRFToken"])
    headers: dict[str, Any] = {"X-CSRFToken": None}
    answer = eve.call("POST", "tokens", params={"csrf_token": token}, headers=headers, json={})
    assert answer.status_code == 400
