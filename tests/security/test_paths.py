"""Paths that lead elsewhere: in addresses, in names of uploads, and in the archive that is taken home."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import quote

import pytest

from tests.faults.filer import EVERYTHING, Filer, RawHttp, kept
from tests.http_caller import HttpCaller
from tests.security.scene import Scene
from tests.site_process import ROOT, SiteProcess

#: As an HTTP library would not send them.
RAW = (
    *("../run.py", "../../run.py", "../../../../../../etc/passwd", "..%2frun.py", "%2e%2e/run.py", "%2e%2e%2frun.py"),
    *("..%252frun.py", "%252e%252e%252frun.py", "..%c0%afrun.py", "..%c1%9crun.py", "..%5crun.py", "..\\run.py"),
    *("....//run.py", "..;/run.py", "..%00/run.py", "css/../../run.py", "css/..%2f..%2frun.py", "./../run.py"),
    *("/etc/passwd", "//etc/passwd", "%2fetc%2fpasswd", "file:///etc/passwd", "C:/run.py", "C:%5crun.py", "~/run.py"),
    *(
        "css/app.css%00.html",
        "css/app.css/../../../run.py",
        "css%2f..%2f..%2frun.py",
        "__init__.py",
        ".env",
        ".git/config",
    ),
    *("%ef%bc%8e%ef%bc%8e/run.py", "%e2%80%a5/run.py", "%u002e%u002e/run.py", "..%e2%88%95run.py", "..%ef%bc%8frun.py"),
    *(
        "CON",
        "NUL",
        "aux.txt",
        "COM1",
        "css/CON",
        "css/app.css::$DATA",
        "css/app.css:x",
        "css./app.css",
        "CSS~1/app.css",
    ),
    *(
        "\\\\evil\\share\\x",
        "%5c%5cevil%5cshare",
        "?/../../run.py",
        ".%2e/run.py",
        "css/",
        "css",
        ".",
        "..",
        "%2e",
        "%2e%2e",
    ),
)
PREFIXES = ("/static/", "/bootstrap/static/", "/api/docs/assets/", "/spaces/", "/requests/", "/api/v1/files/", "/")
#: Parts of what no visitor may ever see: the site's own code, its keys, the machine's users.
SECRETS = (b"create_app", b"root:x:", b"[core]", b"first-admin", b"SQLite format")
#: Names that a sender may give to a file or a part.
NAMES = (
    *(
        "../../../../tmp/evil",
        "..\\..\\evil.txt",
        "/etc/cron.d/evil",
        "C:\\Windows\\evil.dll",
        "\\\\evil\\share\\x.txt",
    ),
    *("....//evil", "a/../../evil", "a\\..\\..\\evil", "..", ".", "...", "~/.ssh/authorized_keys", "file.txt:stream"),
    *("CON", "con.txt", "NUL", "aux.tar.gz", "COM1", "lpt9.txt", "C:evil.txt", "evil.txt.", "evil.txt ", " lead"),
    *(
        "a\nb.txt",
        "a\rb",
        "a\tb",
        "\u202egpj.exe",
        "evil\u2028x",
        "x" * 300,
        'a<b>c|d?e*f"g',
        "\uff052e\uff052e\uff0fevil",
    ),
    *(
        "‥/evil",
        "\uff0e\uff0e\uff0fevil",
        "%2e%2e%2fevil",
        "evil%00.txt",
        "-rf",
        "--help",
        ".htaccess",
        ".bashrc",
        "nul .txt",
    ),
)
DEVICES = {"con", "prn", "aux", "nul"} | {f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10)}


def get(site: SiteProcess, path: str, cookie: str) -> bytes:
    peer = RawHttp(site.url, 10)
    line = f"GET {path} HTTP/1.1\r\nHost: x\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
    said = peer.send(line.encode("latin-1", "replace")).until_closed()
    peer.close()
    return said


@pytest.mark.parametrize("prefix", PREFIXES)
def test_no_path_leads_out_of_what_is_served(site: SiteProcess, admin: HttpCaller, prefix: str) -> None:
    ((name, value),) = admin.http.cookies.get_dict().items()
    password = site.admin_credentials()[1].encode()
    key = (site.data_dir / "secret-key").read_bytes().strip()
    for path in RAW:
        said = get(site, prefix + path, f"{name}={value}")
        status = int(said.split(b" ", 2)[1])
        assert status in (200, 302, 308, 400, 404), (path, said[:200])
        for secret in (*SECRETS, password, key, str(site.data_dir).encode(), str(ROOT).encode()):
            assert secret not in said, (prefix + path, secret)
        if status == 200:
            assert path in ("?/../../run.py", "."), f"{prefix}{path} is served: {said[:300]!r}"


def test_names_of_uploads_are_never_paths(site: SiteProcess, scene: Scene) -> None:
    """In the form, in the signed link, in Content-Disposition: bytes lie under ids, and names are only shown."""
    before = set(kept(site.data_dir))
    around = {path for path in site.data_dir.parent.rglob("*") if path.is_file()}
    space = scene.admin.make_space(inputs=EVERYTHING)
    app = Naming(site.url, scene.admin.make_token(spaces=[space])).serve(space)
    for name in NAMES:
        head = f'Content-Disposition: form-data; name="file"; filename="{quote_for_form(name)}"'
        body = f"--B\r\n{head}\r\n\r\nhello\r\n--B--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=B"}
        sent = scene.ann.call("POST", f"spaces/{space}/requests", data=body.encode(), headers=headers)
        assert sent.status_code in (202, 400), (name, sent.text)
        if sent.status_code == 202:
            done = scene.ann.wait_final(sent.json()["id"])
            for file in done["input"]["files"] + done["output"]:
                assert is_plain(file["name"]), (name, file["name"])
                disposition = scene.ann.call("GET", file["url"]).headers["Content-Disposition"]
                assert not set("\r\n/\\") & set(disposition.partition("filename*")[0]), disposition
    app.close()
    new = {path for path in site.data_dir.parent.rglob("*") if path.is_file()} - around
    stored = set(kept(site.data_dir)) - before
    assert {path for path in new if "spaces.db" not in path.name} <= stored
    assert all(len(path.name) == 32 and path.name.isalnum() for path in stored), [path.name for path in stored][:5]


class Naming(Filer):
    """Answers with a file that has the name of the one that came."""

    def on_request(self, request: dict[str, Any]) -> None:
        file_id = self.upload(request, b"hello", request["files"][0]["name"])
        self.codes.append(self.hand_in(request, file_id))


def quote_for_form(name: str) -> str:
    """Spell a name as browsers do in a form (the three characters that would end it)."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def is_plain(name: str) -> bool:
    """Whether a name is one component on every system, and shows all that it is."""
    parts = PurePosixPath(name).parts, PureWindowsPath(name.replace(":", "")).parts
    unseen = any(not char.isprintable() for char in name)
    return name not in ("", ".", "..") and all(len(one) == 1 for one in parts) and not unseen and len(name) <= 255


def test_an_archive_unpacks_into_its_own_folder_on_every_system(
    site: SiteProcess, scene: Scene, tmp_path: Path
) -> None:
    """Zip slip: an app names the parts of its result, and their user unpacks them anywhere."""
    space = scene.admin.make_space()

    class Slip(Filer):
        def on_request(self, request: dict[str, Any]) -> None:
            about = {"request_id": request["request_id"], "attempt_id": request["attempt_id"], "status": "completed"}
            short = [name[:90] for name in NAMES]
            parts: list[dict[str, Any]] = [{"type": "text", "text": name, "name": name} for name in short]
            parts += [{"type": "json", "data": name, "name": name} for name in short]
            parts += [{"type": "file", "data": "aGVsbG8=", "name": name[:255]} for name in NAMES]
            self.codes.append(self.call("inference_result", {**about, "result": {"parts": parts}})["code"])

    app = Slip(site.url, scene.admin.make_token(spaces=[space])).serve(space)
    done = scene.ann.wait_final(scene.ann.submit(space, "hello")["id"])
    assert done["status"] == "completed", (done, app.codes)
    app.close()
    answer = scene.ann.call("GET", f"/requests/{done['id']}/download")
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    names = archive.namelist()
    assert len(names) == 3 * len(NAMES)
    assert len({name.casefold() for name in names}) == len(names), "one entry would overwrite another"
    for entry in archive.infolist():
        name = entry.filename
        assert is_plain(name), name
        assert not set('<>:"|?*') & set(name), name
        assert name == name.strip(". "), name
        assert name.partition(".")[0].strip().casefold() not in DEVICES, name
        assert entry.external_attr >> 28 != 0xA, f"{name} is a symbolic link"
    archive.extractall(tmp_path / "unpacked")
    assert {path.parent for path in tmp_path.rglob("*") if path.is_file()} == {tmp_path / "unpacked"}


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "..", ".x", "-x", "a b", "\uff41", "x\n", "x\x00", "x" * 65, "a\\b", "C:x", ""]
)
def test_a_space_has_no_name_that_is_a_path(admin: HttpCaller, name: str) -> None:
    assert admin.call("POST", "spaces", json={"name": name}).status_code == 422
    if name not in ("", ".."):
        assert admin.call("GET", f"/api/v1/spaces/{quote(name, safe='')}").status_code in (308, 400, 404)
