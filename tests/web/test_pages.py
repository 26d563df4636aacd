"""The pages as they come from the server: gallery, space, requests, error pages. No script runs here."""

from __future__ import annotations

import html
import io
import re
import time
from dataclasses import replace
from inspect import signature
from itertools import combinations
from pathlib import Path

import pytest

from project.models import Space
from project.pages import snippets
from project.pages.cards import ENDINGS, Card
from project.pages.filters import size
from project.pages.gallery import in_order, matches

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360f8cfc000000301010018dd8db00000000049454e44ae426082"
)
INLINE = re.compile(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", re.IGNORECASE)


def text_of(answer, status=200):
    """Return the page with its entities resolved, after a check of its status."""
    assert answer.status_code == status, answer.text[:500]
    return html.unescape(answer.text)


def page(browser, path, status=200):
    return text_of(browser.get(path), status)


def send(browser, space, prompt, **files):
    """Send the plain form as a browser does: the token first, then the fields, then the files (name and bytes)."""
    form = {"csrf_token": browser.csrf("/"), "prompt": prompt}
    given = {field: (io.BytesIO(content), name) for field, (name, content) in files.items()}
    return browser.post(f"/spaces/{space}", data=form | given, content_type="multipart/form-data")


def sent(browser, space="cats", prompt="hello", **files):
    """Send the plain form and return the id of the request."""
    answer = send(browser, space, prompt, **files)
    assert answer.status_code == 303, answer.text[:500]
    return answer.headers["Location"].rpartition("/")[2]


@pytest.fixture
def ann(make_user, login):
    make_user("ann")
    return login("ann")


@pytest.fixture
def cats(make_space):
    return make_space("cats", title="Cats & friends", description="**Purring** <script>alert(1)</script>")


# Gallery


def test_an_empty_site_tells_each_what_to_do(client, admin_client):
    assert "There is no space yet" in page(client, "/")
    assert "/admin/spaces/new" not in page(client, "/")
    assert "Make the first space" in page(admin_client, "/")
    assert "/admin/spaces/new" in page(admin_client, "/")


def test_connected_spaces_come_first_and_say_so(client, make_space, connect):
    for name in ("alpha", "beta", "gamma"):
        make_space(name)
    connect("beta")
    shown = page(client, "/")
    assert shown.index("/spaces/beta") < shown.index("/spaces/alpha") < shown.index("/spaces/gamma")
    assert (shown.count("✓ Connected"), shown.count("✗ Not connected")) == (1, 2)


def test_a_private_space_is_shown_to_its_owner_only(client, ann, admin_client, make_space):
    make_space("secret", owner="ann", visibility="private")
    assert "/spaces/secret" in page(ann, "/")
    assert "/spaces/secret" in page(admin_client, "/")
    assert "/spaces/secret" not in page(client, "/")
    assert "Nothing here" in page(client, "/spaces/secret", 404)


def test_the_gallery_can_be_searched(client, make_space):
    make_space("alpha", description="Draws ships")
    make_space("beta", title="Über Boote")
    assert "/spaces/beta" not in page(client, "/?q=ships draws")
    assert "/spaces/beta" in page(client, "/?q=über")
    assert "Nothing found for “zebra”" in page(client, "/?q=zebra")


def test_the_gallery_is_paged(client, make_space):
    for number in range(30):
        make_space(f"s{number:02}")
    first, second = page(client, "/"), page(client, "/?page=2")
    assert ("/spaces/s23" in first, "/spaces/s24" in first) == (True, False)
    assert ("/spaces/s23" in second, "/spaces/s24" in second) == (False, True)
    assert 'rel="next"' in first
    assert 'rel="next"' not in second


def test_every_word_must_occur():
    space = Space(name="cats", title="Big Cats", description="draws")
    assert matches(space, "")
    assert matches(space, "BIG draws")
    assert not matches(space, "big dogs")


def test_a_space_that_is_switched_off_comes_last():
    spaces = [Space(id=1, title="A", enabled=False), Space(id=2, title="B", enabled=True)]
    assert [entry.space.title for entry in in_order(spaces, {})] == ["B", "A"]


# Space


def test_a_visitor_sees_the_space_and_how_to_sign_in(client, cats):
    shown = page(client, "/spaces/CATS")
    assert "Cats & friends" in shown
    assert "<strong>Purring</strong>" in shown
    assert "<script>alert" not in client.get("/spaces/cats").text
    assert "/login?next=/spaces/cats" in shown
    assert 'data-form-state="signed_out"' in shown
    assert "Connect an app" not in shown


def test_the_form_is_off_while_no_app_is_connected(ann, cats, connect):
    shown = page(ann, "/spaces/cats")
    assert "✗ Not connected" in shown
    assert 'data-form-state="offline"' in shown
    connect("cats")
    shown = page(ann, "/spaces/cats")
    assert "✓ Connected" in shown
    assert 'data-form-state="ready"' in shown


@pytest.mark.parametrize(
    ("columns", "state"),
    [
        ({"enabled": False}, "disabled"),
        ({"queue_when_offline": True}, "waits"),
        ({"input_prompt": False}, "no_inputs"),
        ({}, "offline"),
    ],
)
def test_the_form_says_why_it_is_as_it_is(ann, make_space, columns, state):
    make_space("cats", **columns)
    assert f'data-form-state="{state}"' in page(ann, "/spaces/cats")


def test_the_plain_form_sends_a_prompt_and_leads_to_its_request(ann, cats, connect):
    remote = connect("cats")
    request_id = sent(ann, prompt="first <b>line</b>\r\nsecond")
    handed = remote.next("inference_request")
    assert handed["payload"]["prompt"] == "first <b>line</b>\nsecond"
    assert "Processing" in page(ann, f"/requests/{request_id}")
    remote.answer(handed, {"parts": [{"type": "markdown", "text": "**done** <img src=x>"}]})
    answer = ann.get(f"/requests/{request_id}").text
    assert "✓</span> Completed" in answer
    assert "<strong>done</strong>" in answer
    assert "<img src" not in answer
    assert "first <b>" not in answer


def test_a_refused_prompt_stays_in_the_form(ann, cats, connect):
    shown = text_of(send(ann, "cats", "keep me"), 503)
    assert "not connected" in shown
    assert "keep me</textarea>" in shown
    connect("cats")
    assert "Must not be empty." in text_of(send(ann, "cats", "  "), 422)
    assert "characters" in text_of(send(ann, "cats", "x" * 100_001), 413)
    assert "NUL" in text_of(send(ann, "cats", "a\0b"), 422)


def test_a_switched_off_space_refuses_a_prompt(ann, make_space):
    make_space("cats", enabled=False)
    assert "switched off" in text_of(send(ann, "cats", "hello"), 409)


def test_sending_needs_a_csrf_token_and_somebody_signed_in(client, ann, cats, connect):
    connect("cats")
    assert ann.post("/spaces/cats", data={"prompt": "x"}).status_code == 400
    answer = send(client, "cats", "x")
    assert (answer.status_code, "/login" in answer.headers["Location"]) == (302, True)
    assert "You have not sent anything yet" in page(ann, "/requests")


def test_the_owner_sees_how_to_connect_an_app(ann, make_space, admin_client):
    make_space("mine", owner="ann")
    make_space("other")
    assert 'python mock_app.py --host http://localhost --spaces "mine"' in page(ann, "/spaces/mine")
    assert "mock_app.py" not in page(ann, "/spaces/other")
    assert "mock_app.py" in page(admin_client, "/spaces/mine")


def test_an_earlier_prompt_can_be_edited_and_sent_again(ann, make_user, login, make_space):
    make_space("cats", queue_when_offline=True)
    request_id = sent(ann, prompt="once more")
    assert "once more</textarea>" in page(ann, f"/spaces/cats?again={request_id}")
    make_user("bob")
    assert page(login("bob"), f"/spaces/cats?again={request_id}", 404)


# Requests


def test_a_card_shows_the_place_and_moves_on(ann, make_space, connect):
    make_space("cats", queue_when_offline=True)
    first, second = sent(ann, prompt="one"), sent(ann, prompt="two")
    assert "next in line" in page(ann, f"/requests/{first}/card")
    assert "2nd in line" in page(ann, f"/requests/{second}/card")
    remote = connect("cats")
    handed = remote.next("inference_request")
    remote.report(handed, value=0.25, message="Half <way>")
    card = ann.get(f"/requests/{first}/card").text
    assert 'value="0.25"' in card
    assert "Half &lt;way&gt;" in card
    assert 'data-status="processing"' in card
    assert "<html" not in card


def test_a_failure_says_what_happened_in_plain_words(ann, cats, connect):
    remote = connect("cats")
    request_id = sent(ann)
    handed = remote.next("inference_request")
    body = {"request_id": handed["request_id"], "status": "failed", "error": "out of <memory>"}
    remote.socket.emit("inference_result", body)
    shown = ann.get(f"/requests/{request_id}").text
    assert ENDINGS["app_error"].title in shown
    assert "out of &lt;memory&gt;" in shown
    assert "Edit and send again" in shown


def test_json_is_readable(ann, cats, connect):
    remote = connect("cats")
    request_id = sent(ann)
    remote.answer(remote.next("inference_request"), {"größe": [1, "</pre><script>"]})
    shown = ann.get(f"/requests/{request_id}/card").text
    assert "größe" in shown
    assert "JSON: object, 1 key" in shown
    assert "<script>" not in shown


def test_a_request_can_be_cancelled_and_deleted_without_script(ann, make_space):
    make_space("cats", queue_when_offline=True)
    request_id = sent(ann)
    form = {"csrf_token": ann.csrf("/")}
    assert ann.post(f"/requests/{request_id}/cancel").status_code == 400
    assert "ended" in text_of(ann.post(f"/requests/{request_id}/delete", data=form), 409)
    answer = ann.post(f"/requests/{request_id}/cancel", data=form, follow_redirects=True)
    assert "Cancelled" in text_of(answer)
    again = ann.post(f"/requests/{request_id}/cancel", data=form, follow_redirects=True)
    assert "It had ended already." in text_of(again)
    gone = ann.post(f"/requests/{request_id}/delete", data=form, follow_redirects=True)
    assert "The request is deleted." in text_of(gone)
    assert page(ann, f"/requests/{request_id}", 404)


@pytest.mark.parametrize("path", ["", "/card"])
def test_foreign_and_unknown_requests_answer_alike(ann, admin_client, make_user, login, make_space, path):
    make_space("cats", queue_when_offline=True)
    request_id = sent(ann)
    make_user("bob")
    bob = login("bob")
    foreign, unknown = bob.get(f"/requests/{request_id}{path}"), bob.get(f"/requests/{'0' * 32}{path}")
    assert (foreign.status_code, unknown.status_code) == (404, 404)
    without_token = re.compile(r'(content|value)="[^"]{60,}"')
    assert without_token.sub("", foreign.text) == without_token.sub("", unknown.text)
    assert admin_client.get(f"/requests/{request_id}{path}").status_code == 404
    form = {"csrf_token": bob.csrf("/")}
    for action in ("cancel", "delete"):
        assert bob.post(f"/requests/{request_id}/{action}", data=form).status_code == 404


def test_my_requests_can_be_filtered_and_paged(ann, make_space):
    make_space("cats", queue_when_offline=True)
    make_space("dogs", queue_when_offline=True)
    ids = [sent(ann, "cats", f"prompt {number}") for number in range(22)]
    other = sent(ann, "dogs", "bark")
    ann.post(f"/requests/{ids[0]}/cancel", data={"csrf_token": ann.csrf("/")})
    first = page(ann, "/requests?space=cats")
    assert [request_id in first for request_id in (ids[21], ids[2], ids[1], other)] == [True, True, False, False]
    onward = re.search(r'rel="next" href="([^"]+)"', first)
    assert onward
    second = page(ann, onward[1])
    assert [request_id in second for request_id in (ids[2], ids[1], ids[0])] == [False, True, True]
    cancelled = page(ann, "/requests?status=cancelled")
    assert [request_id in cancelled for request_id in (ids[0], ids[1])] == [True, False]
    assert "No such requests" in page(ann, "/requests?status=failed")
    assert page(ann, "/requests?cursor=nonsense", 422)


def test_each_page_that_belongs_to_somebody_leads_to_the_sign_in(client):
    for path in ("/requests", "/requests/abc", "/requests/abc/card"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["Location"].startswith("/login?next=")) == (302, True)


# Audio, video and files


@pytest.mark.parametrize("kinds", [(), ("audio",), ("video", "file"), ("prompt", "audio", "video", "file")])
def test_the_form_has_exactly_the_inputs_that_are_on(ann, client, make_space, kinds):
    make_space("cats", **{f"input_{kind}": kind in kinds for kind in ("prompt", "audio", "video", "file")})
    shown = page(ann, "/spaces/cats")
    form = shown.partition("data-prompt-form")[2].partition("</form>")[0]
    assert re.findall(r'<(?:textarea|input type="file")[^>]* name="(\w+)"', form) == list(kinds)
    assert form.index('name="csrf_token"') < form.find('type="file"') or not set(kinds) - {"prompt"}
    assert 'enctype="multipart/form-data"' in shown
    gallery = page(client, "/")
    signs = {"prompt": "Takes a prompt", "audio": "Takes audio", "video": "Takes video", "file": "Takes files"}
    assert [kind for kind, words in signs.items() if words in gallery] == list(kinds)


def test_every_module_of_a_space_is_asked_for_at_once(ann, make_space):
    make_space("cats")
    asked = set(re.findall(r"/static/js/([\w-]+)\.js", page(ann, "/spaces/cats")))
    folder = Path(__file__).parents[2] / "project" / "static" / "js"
    found, waiting = set(), ["space"]
    while waiting:
        name = waiting.pop()
        found.add(name)
        imported = re.findall(r'^import .*?"\./([\w-]+)\.js"', (folder / f"{name}.js").read_text(), re.MULTILINE)
        waiting += set(imported) - found
    assert asked == found | {"theme"}


def test_the_limits_are_said_before_they_are_hit(ann, make_space):
    make_space("cats", input_file=True, upload_mb=1.5, files=1)
    shown = page(ann, "/spaces/cats")
    assert "At most 1 file, 1.5 MB in all." in shown
    assert 'data-max-bytes="1500000" data-max-files="1"' in shown


def test_the_plain_form_sends_files_without_a_prompt(ann, make_space, connect):
    make_space("cats", input_file=True)
    remote = connect("cats")
    request_id = sent(ann, prompt="", file=("<b>cat.png", PNG))
    handed = remote.next("inference_request")
    assert [file["name"] for file in handed["files"]] == ["<b>cat.png"]
    shown = ann.get(f"/requests/{request_id}").text
    assert "<b>cat" not in shown
    assert "image/png, 70 bytes" in shown
    assert "Edit and send again" not in shown


def test_a_refused_file_is_said_at_its_field_and_the_prompt_stays(ann, make_space, connect):
    make_space("cats", input_audio=True)
    connect("cats")
    shown = text_of(send(ann, "cats", "keep me", audio=("lie.wav", b"words, not a sound")), 422)
    error = re.search(r'id="audio-error"[^>]*>([^<]+)<', shown)
    assert error, shown
    assert "keep me</textarea>" in shown


def test_results_are_drawn_as_what_they_are(ann, make_space, connect):
    make_space("cats", input_file=True)
    remote = connect("cats")
    request_id = sent(ann, prompt="x", file=("cat.png", PNG))
    handed = remote.next("inference_request")
    file_id = handed["files"][0]["url"].partition("?")[0].rpartition("/")[2]
    parts = [{"type": kind, "file_id": file_id, "name": f"{kind}.png"} for kind in ("image", "video", "file")]
    remote.answer(handed, {"parts": [{"type": "text", "text": "look"}, *parts]})
    shown = ann.get(f"/requests/{request_id}").text
    result = shown[shown.index('<div class="result">') :]
    assert f'<img src="/api/v1/files/{file_id}" alt="image.png"' in result
    assert "<video" not in result
    assert result.count(f'href="/api/v1/files/{file_id}?download=1" download') == 3
    assert handed["files"][0]["sha256"] in result
    assert "Download all" in result


def test_files_that_follow_each_other_share_a_grid():
    image = {"type": "image", "file_id": "a", "content_type": "image/png"}
    vector = {**image, "content_type": "image/svg+xml"}
    text = {"type": "text", "text": "x"}
    card = Card("1", "cats", "completed", 1, "x", 1, 0.0, parts=[image, image, vector, text, image])
    assert [(shown.kind, len(shown.parts)) for shown in card.shown] == [
        *[("image", 2), ("file", 1), ("text", 1), ("image", 1)]
    ]
    assert card.first_text == 4


@pytest.mark.parametrize(
    ("parts", "offered"),
    [
        ([], False),
        ([{"type": "text", "text": "x"}], False),
        ([{"type": "text", "text": "x"}] * 2, True),
        ([{"type": "file", "file_id": "a"}], True),
    ],
)
def test_all_can_be_downloaded_where_there_is_more_than_a_text(parts, offered):
    assert Card("1", "cats", "completed", 1, "x", 1, 0.0, parts=parts).has_bundle is offered


def test_an_ended_request_is_sent_once_more_with_its_files(ann, make_space, make_user, login, connect):
    make_space("cats", input_file=True)
    remote = connect("cats")
    request_id = sent(ann, prompt="again", file=("cat.png", PNG))
    form = {"csrf_token": ann.csrf("/")}
    early = ann.post(f"/requests/{request_id}/retry", data=form, follow_redirects=True)
    assert "not ended yet" in text_of(early)
    remote.answer(remote.next("inference_request"), {"text": "done"})
    answer = ann.post(f"/requests/{request_id}/retry", data=form)
    new_id = answer.headers["Location"].rpartition("/")[2]
    assert new_id != request_id
    handed = remote.next("inference_request")
    assert (handed["payload"]["prompt"], handed["files"][0]["name"]) == ("again", "cat.png")
    assert "Choose the files again: <span data-again-files>cat.png</span>" in page(ann, f"/spaces/cats?again={new_id}")
    make_user("bob")
    bob = login("bob")
    form = {"csrf_token": bob.csrf("/")}
    assert bob.post(f"/requests/{request_id}/retry", data=form).status_code == 404


@pytest.mark.parametrize("on", [c for n in range(5) for c in combinations(["prompt", "audio", "video", "file"], n)])
def test_the_program_that_connects_an_app_runs(monkeypatch, on):
    monkeypatch.setenv("SPACES_TOKEN", "x")
    served = []
    monkeypatch.setattr("spaces_app.App.run", lambda app: served.append(app))
    program = {}
    code = snippets.connect_code("http://localhost:5001", "cats", on)
    exec(compile(code, "connect", "exec", dont_inherit=True), program)
    assert served == [program["app"]]
    given = {"prompt": "hello", "audio": Path("a"), "video": None, "files": [Path("b")]}
    taken = {name: given[name] for name in signature(program["answer"]).parameters}
    assert set(taken) == {"files" if kind == "file" else kind for kind in on or ["prompt"]}
    assert program["answer"](**taken) == "You said: hello" or "prompt" not in taken


def test_the_command_sends_what_the_space_takes():
    plain, form = (snippets.api_code("http://x", "cats", kinds) for kinds in (["prompt"], ["prompt", "audio", "file"]))
    assert """-d '{"prompt": "Hello"}'""" in plain
    assert "-F" not in plain
    assert re.findall(r'-F "?(\w+)=', form) == ["prompt", "audio", "file"]
    assert "application/json" not in form
    assert not form.endswith("\\")


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1_000, "1.0 kB"),
        (34_400_000, "34 MB"),
        (5 * 10**12, "5000 GB"),
    ],
)
def test_sizes_are_written_for_people(count, words):
    assert size(count) == words


# Errors and the frame


@pytest.mark.parametrize("path", ["/nothing", "/spaces/none", "/spaces/%3Cb%3E"])
def test_an_unknown_address_is_answered_in_the_look_of_the_site(client, path):
    shown = page(client, path, 404)
    assert "Nothing here" in shown
    assert "To the spaces" in shown


def test_a_wrong_method_names_the_right_ones(client):
    answer = client.post("/-/patterns", data={"csrf_token": client.csrf()})
    assert answer.status_code == 405
    assert "GET" in answer.headers["Allow"]
    assert "Not this way" in answer.text


def test_the_api_answers_errors_as_json(client):
    assert client.get("/api/v1/nothing").json["error"]["code"] == "not_found"


def test_a_failure_of_the_site_says_so_and_tells_nothing_else(app, client):
    app.testing = False
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.add_url_rule("/broken", "broken", lambda: {}["secret"])
    shown = page(client, "/broken", 500)
    assert "Something broke on our side" in shown
    assert "secret" not in shown


def test_without_the_database_there_is_still_an_honest_page(app, ann):
    services = app.extensions["spaces"]
    folder = services.settings.data_dir
    with app.app_context():
        services.database.engine.dispose()
    (folder / "spaces.db").rename(folder / "away.db")
    (folder / "spaces.db").mkdir()
    answer = ann.get("/requests")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert "Not available right now" in answer.text


@pytest.mark.parametrize("path", ["/", "/spaces/cats", "/requests", "/-/patterns", "/nothing"])
def test_nothing_is_inline_and_the_policy_is_strict(admin_client, cats, path):
    answer = admin_client.get(path)
    assert INLINE.findall(answer.text) == []
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert '<html lang="en">' in answer.text
    assert answer.text.count("<h1") == 1


def test_the_patterns_are_for_development_and_admins(app, client, admin_client, monkeypatch):
    assert client.get("/-/patterns").status_code == 200
    services = app.extensions["spaces"]
    production = services.settings.model_copy(update={"env": "production"})
    monkeypatch.setitem(app.extensions, "spaces", replace(services, settings=production))
    assert client.get("/-/patterns").status_code == 404
    assert admin_client.get("/-/patterns").status_code == 200


def test_times_are_machine_readable(ann, make_space):
    make_space("cats", queue_when_offline=True)
    found = re.search(r'<time datetime="([^"]+)Z"', page(ann, f"/requests/{sent(ann)}"))
    assert found
    assert found[1].startswith(time.strftime("%Y-", time.gmtime()))


def test_signing_in_from_a_space_leads_back_to_it(client, make_space):
    make_space("cats")
    page = client.get("/spaces/cats").get_data(as_text=True)
    assert page.count('href="/login?next=/spaces/cats"') == 2
    assert 'href="/login"' not in page


@pytest.mark.parametrize(
    ("inputs", "words"),
    [({"input_audio": True}, "At most 512 MB in all."), ({"input_file": True}, "At most 10 files, 512 MB in all.")],
)
def test_a_limit_on_the_count_is_said_where_it_can_be_reached(ann, make_space, inputs, words):
    make_space("cats", **inputs)
    assert words in page(ann, "/spaces/cats")


def test_the_forms_count_as_submits(ann, cats):
    """Whoever may send so many by the API may not send more by the page."""
    for _ in range(300):
        assert send(ann, "cats", "hello").status_code == 503
    assert send(ann, "cats", "hello").status_code == 429
    assert ann.post("/requests/none/retry", data={"csrf_token": ann.csrf()}).status_code == 429
