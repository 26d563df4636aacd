"""What people do beside the main job: accounts, tokens, admin's forms, looking around, the theme."""

from __future__ import annotations

import re
import secrets

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Visit
from tests.browser.visitors import Visitor
from tests.http_caller import HttpCaller
from tests.site_process import SiteProcess

PASSWORD = "correct horse battery"


def test_sign_up_leads_back_to_the_space_and_sign_out_ends_it(visit: Visit, admin: HttpCaller) -> None:
    space = admin.make_space()
    me = visit()
    me.go(f"/spaces/{space}")
    me.page.get_by_role("link", name="make an account").click()
    me.page.get_by_label("User name").fill("newcomer")
    me.page.get_by_label("Password", exact=True).fill(PASSWORD)
    me.page.get_by_label("Repeat the password").fill("something else")
    me.expect_problem("status of 422 ")
    me.page.get_by_role("main").get_by_role("button", name="Sign up").click()
    expect(me.page.locator("#repeat-error")).to_contain_text("The two passwords differ.")
    expect(me.page.get_by_label("User name")).to_have_value("newcomer")

    _type_twice(me, "Password", "Repeat the password", PASSWORD)
    me.page.get_by_role("main").get_by_role("button", name="Sign up").click()

    expect(me.page).to_have_url(re.compile(f"/spaces/{space}$"))
    expect(me.page.get_by_role("status").filter(has_text="Welcome, newcomer")).to_be_visible()
    me.page.get_by_role("button", name="Sign out").click()
    expect(me.page.get_by_role("link", name="Sign in", exact=True).first).to_be_visible()


def test_a_visitor_sees_the_gallery_and_what_to_do_in_a_space(visit: Visit, admin: HttpCaller) -> None:
    space = admin.make_space(title="Open to all eyes")
    hidden = admin.make_space(visibility="private")
    me = visit()
    me.go("/")
    expect(me.page.get_by_role("link", name="Open to all eyes")).to_be_visible()
    expect(me.page.get_by_text(hidden)).to_have_count(0)

    me.page.get_by_role("link", name="Open to all eyes").click()

    expect(me.page.get_by_label("Prompt")).to_be_disabled()
    expect(me.page.locator("#form-note")).to_contain_text("Sign in to send a request")
    me.page.locator("#form-note").get_by_role("link", name="Sign in").click()
    expect(me.page).to_have_url(re.compile(f"/login\\?next=.*{space}"))
    me.go(f"/spaces/{hidden}", 404)
    expect(me.page.get_by_role("link", name="To the spaces")).to_be_visible()


def test_the_gallery_is_searched(visit: Visit, admin: HttpCaller) -> None:
    word = secrets.token_hex(4)
    admin.make_space(title=f"Found by {word}")
    me = visit()
    me.go("/")

    me.page.get_by_role("searchbox", name="Search spaces").fill(word)
    me.page.get_by_role("button", name="Search").click()

    expect(me.page.get_by_role("article")).to_have_count(1)
    me.page.get_by_role("searchbox", name="Search spaces").fill("no such words")
    me.page.get_by_role("button", name="Search").click()
    expect(me.page.get_by_role("heading", name="Nothing found")).to_be_visible()


def test_a_changed_password_signs_other_browsers_out(visit: Visit, site: SiteProcess) -> None:
    name = f"user-{secrets.token_hex(4)}"
    HttpCaller(site.url).sign_up(name, PASSWORD)
    me, elsewhere = visit(), visit()
    for one in (me, elsewhere):
        one.go("/login")
        one.sign_in(name, PASSWORD)
    me.go("/account")

    me.page.get_by_label("Current password").fill(PASSWORD)
    _type_twice(me, "New password", "Repeat the new password", PASSWORD + "2")
    me.page.get_by_role("button", name="Change the password").click()

    expect(me.page.get_by_role("status").filter(has_text="Your password is changed")).to_be_visible()
    elsewhere.go("/account")
    expect(elsewhere.page).to_have_url(re.compile("/login"))
    elsewhere.sign_in(name, PASSWORD + "2")


def test_a_token_is_shown_once_and_can_be_revoked(visit: Visit, site: SiteProcess, ann: HttpCaller) -> None:
    me = visit(ann)
    me.go("/account")
    me.page.get_by_text("New token", exact=True).click()
    me.page.get_by_label("Name", exact=True).fill("my script")
    me.page.get_by_label("Use the HTTP API in your name (api)").check()
    me.page.get_by_role("button", name="Make the token").click()

    text = me.page.get_by_role("region", name="The token").inner_text().strip()
    program = HttpCaller(site.url, token=text)
    program.json("GET", "requests")
    me.page.get_by_role("link", name="Done, back to the account").click()
    assert text not in me.page.content()
    expect(me.page.get_by_role("row").filter(has_text="my script")).to_contain_text(text[:6])

    me.page.get_by_role("button", name="Revoke my script").click()
    me.page.get_by_role("dialog").get_by_role("button", name="Keep it").click()
    program.json("GET", "requests")
    me.page.get_by_role("button", name="Revoke my script").click()
    me.page.get_by_role("dialog").get_by_role("button", name="Revoke").click()

    expect(me.page.get_by_role("status").filter(has_text="The token is revoked.")).to_be_visible()
    program.json("GET", "requests", 401)


def test_an_admin_makes_a_space_and_a_taken_name_is_refused_at_the_field(visit: Visit, admin: HttpCaller) -> None:
    taken = admin.make_space()
    me = visit(admin)
    me.go("/admin/spaces")
    me.page.get_by_role("link", name="New space").click()
    for label in ("Enable Prompt Input", "Enable Audio Upload", "Enable Video Upload", "Enable File Upload"):
        expect(me.page.get_by_role("switch", name=label)).to_be_visible()
    me.page.get_by_label("Name", exact=True).fill(taken.upper())
    me.page.get_by_label("Title").fill("Kept words")
    me.expect_problem("status of 409 ")

    me.page.get_by_role("button", name="Make the space").click()

    field = me.page.get_by_label("Name", exact=True)
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(me.page.locator("#name-error")).to_contain_text("name")
    expect(me.page.get_by_label("Title")).to_have_value("Kept words")
    name = f"made-{secrets.token_hex(4)}"
    field.fill(name)
    me.page.get_by_role("button", name="Make the space").click()
    expect(me.page.get_by_role("heading", level=1)).to_have_text("Kept words")
    assert admin.space(name)["title"] == "Kept words"


def test_a_chosen_theme_is_remembered(visit: Visit) -> None:
    me = visit(color_scheme="light")
    me.go("/")
    root, switch = me.page.locator("html"), me.page.get_by_role("button", name="Colours")
    expect(root).to_have_attribute("data-bs-theme", "light")
    while root.get_attribute("data-bs-theme") != "dark":
        switch.click()
    light = me.page.evaluate("getComputedStyle(document.body).backgroundColor")

    me.go("/login")

    expect(root).to_have_attribute("data-bs-theme", "dark")
    assert me.page.evaluate("getComputedStyle(document.body).backgroundColor") == light
    switch.click()
    expect(root).to_have_attribute("data-bs-theme", "light")
    expect(switch).to_have_accessible_name(re.compile("follow the system"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_without_a_choice_the_theme_is_the_systems(visit: Visit, scheme: str) -> None:
    me = visit(color_scheme=scheme)
    expect(me.go("/").locator("html")).to_have_attribute("data-bs-theme", scheme)


def _type_twice(me: Visitor, label: str, repeat: str, password: str) -> None:
    me.page.get_by_label(label, exact=True).fill(password)
    me.page.get_by_label(repeat).fill(password)
