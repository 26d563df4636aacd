"""The admin pages: spaces, users, tokens, connections, and who gets in."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from project import accounts, space_admin, tokens
from project.services import services
from project.space_admin import SpaceUpdate
from project.validation import parse
from tests.conftest import ADMIN, PASSWORD, Browser, MakeSpace, MakeUser, browser_of

PAGES = ("", "spaces", "spaces/new", "users", "users/new", "tokens", "connections")
Login = Callable[[str], Browser]
SPACE = {
    "name": "cats",
    "title": "Cats",
    "description": "All about *cats*",
    "input_prompt": "y",
    "visibility": "public",
    "owner": ADMIN,
}


def send(browser: Browser, path: str, **fields: Any) -> Any:
    return browser.post(f"/admin/{path}", data={"csrf_token": browser.csrf("/account"), **fields})


def names(text: str) -> list[str]:
    """The first column of the table on a page."""
    return re.findall(r'<th scope="row" class="row-name">(?:<a[^>]*>)?([^<]+)<', text)


def space_of(app: Flask, name: str) -> Any:
    with app.app_context():
        return space_admin.find(name)


@pytest.fixture
def connect_app(app: Flask, make_space: MakeSpace) -> Callable[[str], Any]:
    """Connect an app to a new space, as a Socket.IO client does."""

    def connect(name: str) -> Any:
        make_space(name)
        with app.app_context():
            admin = accounts.get_by_username(ADMIN)
            assert admin
            text = tokens.create(admin, f"app of {name}", ["app"], [name], None, time.time())[1]
        wire = app.extensions["socketio"].test_client(app, auth={"token": text})
        wire.emit("register", {"space_name": name, "app": {"name": "painter", "version": "4.2"}})
        answers = [item["args"][0] for item in wire.get_received() if item["name"] == "register_response"]
        assert [answer["success"] for answer in answers] == [True]
        return wire

    return connect


# Who gets in


def test_visitors_are_asked_to_sign_in(client: Browser) -> None:
    for page in PAGES:
        answer = client.get(f"/admin/{page}")
        assert answer.status_code == 302, page
        assert answer.location.startswith("/login?next=/admin/") or "next=%2Fadmin%2F" in answer.location


def test_for_other_people_the_admin_pages_do_not_exist(
    login: Login, make_user: MakeUser, make_space: MakeSpace, app: Flask
) -> None:
    user = make_user("ann")
    make_space("cats")
    browser = login("ann")
    for page in PAGES:
        assert browser.get(f"/admin/{page}").status_code == 404, page
    for path in ("spaces/new", "spaces/cats/edit", "spaces/cats/disable", "spaces/cats/delete"):
        assert send(browser, path, **SPACE).status_code == 404, path
    for path in (f"users/{user.id}/role", f"users/{user.id}/password", "connections/cats/disconnect"):
        assert send(browser, path, role="admin").status_code == 404, path
    assert space_of(app, "cats").enabled
    with app.app_context():
        assert not accounts.find(user.id).is_admin


def test_every_change_needs_the_csrf_token(admin_client: Browser, make_space: MakeSpace, app: Flask) -> None:
    make_space("cats")
    for path in ("spaces/new", "spaces/cats/edit", "spaces/cats/disable", "spaces/cats/delete", "users/new"):
        assert admin_client.post(f"/admin/{path}", data=SPACE).status_code == 400, path
    assert space_of(app, "cats").enabled


# Overview


def test_the_overview_counts_what_there_is(
    admin_client: Browser, connect_app: Callable[[str], Any], make_space: MakeSpace, make_user: MakeUser, app: Flask
) -> None:
    user, quiet = make_user("ann"), make_space("quiet")
    connect_app("cats")
    with app.app_context():
        services().store.create(quiet.id, user.id, "ann", "hello", {}, connected=True, now=time.time())
    text = admin_client.get("/admin/").text
    numbers = re.findall(r"<dt>(\w+)</dt><dd>(?:<a[^>]*>)?(\d+)", text)
    assert numbers == [("Spaces", "2"), ("Connected", "1"), ("Waiting", "1"), ("Running", "0"), ("Users", "2")]
    assert "painter" in text


# Spaces


def test_the_form_has_the_four_switches_by_their_names(admin_client: Browser) -> None:
    text = admin_client.get("/admin/spaces/new").text
    labels = re.findall(r"<label [^>]*>(Enable [^<]+)</label>", text)
    assert labels == ["Enable Prompt Input", "Enable Audio Upload", "Enable Video Upload", "Enable File Upload"]
    assert text.count("Users can ") == 4
    assert "not available" not in text.lower()
    assert "default, 512" in text
    assert "default, 10" in text
    assert "connect an app to this space and read its prompts" in text
    assert "default, 120" in text


def test_making_a_space(admin_client: Browser, app: Flask) -> None:
    answer = send(
        admin_client,
        "spaces/new",
        **SPACE,
        input_audio="y",
        timeout_seconds="2.5",
        queue_length="7",
        upload_mb="1.5",
        files="3",
    )
    assert (answer.status_code, answer.location) == (302, "/spaces/cats")
    space = space_of(app, "cats")
    assert (space.title, space.description) == ("Cats", "All about *cats*")
    assert (space.input_prompt, space.input_audio, space.input_video, space.input_file) == (True, True, False, False)
    assert (space.timeout_seconds, space.max_attempts, space.queue_length) == (2.5, None, 7)
    assert (space.upload_mb, space.files) == (1.5, 3)
    assert not space.queue_when_offline
    assert not space.allow_app_without_token


def test_a_second_space_of_a_name_is_refused_at_the_name(admin_client: Browser, make_space: MakeSpace) -> None:
    make_space("cats")
    answer = send(admin_client, "spaces/new", **SPACE | {"name": "CATS", "title": "Kept"})
    assert answer.status_code == 409
    error = re.search(r'id="name-error">(.*?)</p>', answer.text, re.DOTALL)
    assert error
    assert "A space named &#34;CATS&#34; exists already." in error[1]
    assert 'value="Kept"' in answer.text


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("name", "no spaces", "Use 1 to 64 of"),
        ("name", "", "This field is needed."),
        ("timeout_seconds", "-1", "greater than 0"),
        ("timeout_seconds", "soon", "Not a valid float value."),
        ("max_attempts", "1000", "less than or equal to 100"),
        ("queue_length", "0", "greater than or equal to 1"),
        ("upload_mb", "0", "greater than 0"),
        ("files", "0", "greater than or equal to 1"),
        ("title", "x" * 201, "200 characters"),
        ("owner", "nobody", "There is no user named"),
        ("visibility", "hidden", "Not a valid choice"),
    ],
)
def test_a_wrong_field_says_so_and_keeps_the_rest(admin_client: Browser, field: str, value: str, message: str) -> None:
    answer = send(admin_client, "spaces/new", **SPACE | {field: value})
    assert answer.status_code == 422
    error = re.search(rf'id="{field}-error">(.*?)</p>', answer.text, re.DOTALL)
    assert error
    assert message in error[1]
    assert "All about *cats*" in answer.text


def test_changing_a_space_keeps_its_name_and_can_empty_a_limit(
    admin_client: Browser, make_space: MakeSpace, app: Flask
) -> None:
    make_space("cats", timeout_seconds=5.0, max_attempts=3)
    form = admin_client.get("/admin/spaces/Cats/edit").text
    assert 'value="5.0"' in form
    assert 'name="name"' not in form
    changed = SPACE | {"name": "dogs", "title": "New title", "timeout_seconds": "", "max_attempts": "4", "owner": ""}
    changed |= {"visibility": "private", "allow_app_without_token": "y", "queue_when_offline": "y"}
    assert send(admin_client, "spaces/cats/edit", **changed).status_code == 302
    space = space_of(app, "cats")
    assert (space.name, space.title, space.visibility, space.owner_id) == ("cats", "New title", "private", None)
    assert (space.timeout_seconds, space.max_attempts) == (None, 4)
    assert space.allow_app_without_token
    assert space.queue_when_offline
    assert "no token needed" in admin_client.get("/admin/spaces").text


def test_a_refused_change_is_shown_and_changes_nothing(
    admin_client: Browser, make_space: MakeSpace, app: Flask
) -> None:
    make_space("cats")
    answer = send(admin_client, "spaces/cats/edit", **SPACE | {"queue_length": "0", "title": "Typed"})
    assert answer.status_code == 422
    assert 'value="Typed"' in answer.text
    assert space_of(app, "cats").title == "cats"


def test_disabling_and_enabling_a_space(admin_client: Browser, connect_app: Callable[[str], Any], app: Flask) -> None:
    connect_app("cats")
    assert send(admin_client, "spaces/cats/disable").status_code == 302
    space = space_of(app, "cats")
    assert not space.enabled
    with app.app_context():
        assert not services().manager.is_connected(space.id)
    assert send(admin_client, "spaces/cats/enable").status_code == 302
    assert space_of(app, "cats").enabled


def test_deleting_a_space_says_first_what_is_lost(
    admin_client: Browser, connect_app: Callable[[str], Any], app: Flask
) -> None:
    connect_app("cats")
    page = admin_client.get("/admin/spaces/cats/delete").text
    assert "cannot be undone" in page
    assert "the connection of its app" in page
    assert "1 token that is limited" in page
    assert space_of(app, "cats")
    answer = send(admin_client, "spaces/cats/delete")
    assert (answer.status_code, answer.location) == (302, "/admin/spaces")
    assert admin_client.get("/admin/spaces/cats/edit").status_code == 404
    assert names(admin_client.get("/admin/spaces").text) == []


def test_an_unknown_space_is_nothing(admin_client: Browser) -> None:
    for path in ("edit", "delete"):
        assert admin_client.get(f"/admin/spaces/nope/{path}").status_code == 404
    assert send(admin_client, "spaces/nope/disable").status_code == 404


# Tables


def test_a_table_sorts_filters_and_pages(admin_client: Browser, make_space: MakeSpace) -> None:
    for number in range(30):
        make_space(f"cat{number:02}", title=f"Title {99 - number}")
    make_space("dog_1", title="100% dog", visibility="private")
    assert names(admin_client.get("/admin/spaces").text)[:2] == ["cat00", "cat01"]
    assert names(admin_client.get("/admin/spaces?sort=visibility").text)[:2] == ["dog_1", "cat00"]
    assert names(admin_client.get("/admin/spaces?sort=name&dir=desc").text)[:2] == ["dog_1", "cat29"]
    assert names(admin_client.get("/admin/spaces?page=2").text) == [f"cat{n}" for n in range(25, 30)] + ["dog_1"]
    assert names(admin_client.get("/admin/spaces?q=CAT1").text) == [f"cat{n}" for n in range(10, 20)]
    assert names(admin_client.get("/admin/spaces?q=_").text) == ["dog_1"]
    assert names(admin_client.get("/admin/spaces?q=100%25").text) == ["dog_1"]


def test_a_table_shrugs_at_nonsense_in_the_address(admin_client: Browser, make_space: MakeSpace) -> None:
    make_space("cats")
    for query in ("sort=description", "sort=waiting", "dir=up", "page=-3", "page=x", "page=99999999999999999999"):
        answer = admin_client.get(f"/admin/spaces?{query}")
        assert (answer.status_code, names(answer.text)) == (200, ["cats"]), query
    assert "Nothing fits" in admin_client.get("/admin/spaces?q=%00zebra").text


def test_the_heads_link_to_the_other_order(admin_client: Browser, make_space: MakeSpace) -> None:
    make_space("cats")
    text = admin_client.get("/admin/spaces?q=ca").text
    assert 'aria-sort="ascending"' in text
    link = re.search(r'href="([^"]*sort=name[^"]*)"', text)
    assert link
    answer = admin_client.get(link[1].replace("&amp;", "&"))
    assert 'aria-sort="descending"' in answer.text
    assert names(answer.text) == ["cats"]


# Users


def test_adding_somebody_with_a_random_password(admin_client: Browser, app: Flask) -> None:
    answer = send(admin_client, "users/new", username="ann", password="", role="user")
    assert answer.headers["Cache-Control"] == "no-store"
    password = re.search(r'id="new-password-text"[^>]*><code>([^<]+)<', answer.text)
    assert password
    assert browser_of(app).sign_in("ann", password[1]).status_code == 302
    assert names(admin_client.get("/admin/users?q=AN").text) == ["ann"]


def test_adding_somebody_twice_or_badly_is_refused_at_the_field(admin_client: Browser) -> None:
    taken = send(admin_client, "users/new", username="Admin", password=PASSWORD, role="admin")
    assert taken.status_code == 409
    assert "This user name is taken already." in taken.text
    assert 'value="Admin"' in taken.text
    short = send(admin_client, "users/new", username="ann", password="short", role="user")
    assert short.status_code == 422
    assert "Use 8 to 200 characters." in short.text
    assert send(admin_client, "users/new", username="ann", password="", role="king").status_code == 422


def test_resetting_a_password_shows_a_new_one_and_ends_the_sessions(
    admin_client: Browser, make_user: MakeUser, login: Login, app: Flask
) -> None:
    user, theirs = make_user("ann"), login("ann")
    answer = send(admin_client, f"users/{user.id}/password")
    password = re.search(r'id="new-password-text"[^>]*><code>([^<]+)<', answer.text)
    assert password
    assert theirs.who() is None
    assert browser_of(app).sign_in("ann", PASSWORD).status_code == 401
    assert browser_of(app).sign_in("ann", password[1]).status_code == 302


def test_an_admin_who_resets_the_own_password_stays_signed_in(admin_client: Browser, app: Flask) -> None:
    with app.app_context():
        admin = accounts.get_by_username(ADMIN)
        assert admin
    assert send(admin_client, f"users/{admin.id}/password").status_code == 200
    assert admin_client.who() == ADMIN


def test_disabling_somebody_and_back(admin_client: Browser, make_user: MakeUser, login: Login, app: Flask) -> None:
    user, theirs = make_user("ann"), login("ann")
    assert send(admin_client, f"users/{user.id}/active", active="0").status_code == 302
    assert theirs.who() is None
    assert browser_of(app).sign_in("ann").status_code == 401
    assert send(admin_client, f"users/{user.id}/active", active="1").status_code == 302
    assert browser_of(app).sign_in("ann").status_code == 302


def test_changing_a_role(admin_client: Browser, make_user: MakeUser, login: Login) -> None:
    user, theirs = make_user("ann"), login("ann")
    send(admin_client, f"users/{user.id}/role", role="admin")
    assert theirs.get("/admin/").status_code == 200
    send(admin_client, f"users/{user.id}/role", role="user")
    assert theirs.get("/admin/").status_code == 404
    assert send(admin_client, f"users/{user.id}/role", role="king").status_code == 422


def test_the_last_admin_stays(admin_client: Browser, app: Flask) -> None:
    with app.app_context():
        admin = accounts.get_by_username(ADMIN)
        assert admin
    for path, fields in (("active", {"active": "0"}), ("role", {"role": "user"}), ("delete", {})):
        answer = send(admin_client, f"users/{admin.id}/{path}", **fields)
        assert answer.location == f"/admin/users/{admin.id}", path
        assert 'role="alert"' in admin_client.get(answer.location).text, path
    assert admin_client.get("/admin/").status_code == 200


def test_an_admin_who_gives_up_the_role_leaves_the_admin_pages(
    admin_client: Browser, make_user: MakeUser, app: Flask
) -> None:
    make_user("bea", role="admin")
    with app.app_context():
        admin = accounts.get_by_username(ADMIN)
        assert admin
    assert send(admin_client, f"users/{admin.id}/role", role="user").location == "/"
    assert admin_client.get("/admin/").status_code == 404


def test_deleting_somebody_says_first_what_is_lost(
    admin_client: Browser, make_user: MakeUser, make_space: MakeSpace, app: Flask
) -> None:
    user, _ = make_user("ann"), make_space("cats", owner="ann")
    page = admin_client.get(f"/admin/users/{user.id}/delete").text
    assert "0 requests with their results" in page
    assert "1 space stays" in page
    assert send(admin_client, f"users/{user.id}/delete").location == "/admin/users"
    assert names(admin_client.get("/admin/users").text) == [ADMIN]
    assert space_of(app, "cats").owner_id is None
    assert admin_client.get(f"/admin/users/{user.id}").status_code == 404


# Tokens and connections


def test_an_admin_sees_and_revokes_everybodys_tokens(admin_client: Browser, make_user: MakeUser, app: Flask) -> None:
    user = make_user("ann")
    with app.app_context():
        token, text = tokens.create(user, "laptop", ["api"], [], None, time.time())
    page = admin_client.get("/admin/tokens?q=lap").text
    assert names(page) == ["laptop"]
    assert text[: tokens.PREFIX_LENGTH] in page
    assert text not in page
    assert send(admin_client, f"tokens/{token.id}/revoke").location == "/admin/tokens"
    with app.app_context():
        assert tokens.verify(text, time.time()) is None
    assert send(admin_client, f"tokens/{token.id}/revoke").status_code == 404


def test_the_connections_say_who_and_what_and_can_be_cut(
    admin_client: Browser, connect_app: Callable[[str], Any], app: Flask
) -> None:
    wire = connect_app("cats")
    connect_app("birds")
    space = space_of(app, "cats")
    with app.app_context():
        admin = accounts.get_by_username(ADMIN)
        assert admin
        row = services().store.create(space.id, admin.id, ADMIN, "hello", {}, connected=True, now=time.time())
        services().manager.work_arrived(space.id)
    page = admin_client.get("/admin/connections?sort=space").text
    assert names(page) == ["birds", "cats"]
    assert "painter" in page
    assert "4.2" in page
    assert row["id"] in page
    assert names(admin_client.get(f"/admin/connections?q={row['id']}").text) == ["cats"]
    assert send(admin_client, "connections/cats/disconnect").location == "/admin/connections"
    assert names(admin_client.get("/admin/connections").text) == ["birds"]
    assert not wire.is_connected()
    again = send(admin_client, "connections/cats/disconnect")
    assert "No app was connected to cats any more." in admin_client.get(again.location).text


def test_switching_off_tokenless_apps_cuts_one(admin_client: Browser, make_space: MakeSpace, app: Flask) -> None:
    space = make_space("open", allow_app_without_token=True)
    wire = app.extensions["socketio"].test_client(app)
    wire.emit("register", {"space_name": "open"})
    assert "without a token" in admin_client.get("/admin/connections").text
    with app.app_context():
        assert services().manager.is_connected(space.id)
        space_admin.update(space_admin.find("open"), parse(SpaceUpdate, {"allow_app_without_token": False}))
    assert names(admin_client.get("/admin/connections").text) == []
