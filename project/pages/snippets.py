"""Ready-to-run code for one space, with this site's address and the space's name filled in."""

from __future__ import annotations

from collections.abc import Sequence

CONNECT = """\
import os
from spaces_app import App

app = App("{host}", token=os.environ["SPACES_TOKEN"])

@app.space("{name}")
def answer(prompt: str) -> str:
    return "You said: " + prompt

app.run()"""

CURL = """\
curl {host}/api/v1/spaces/{name}/requests \\
  -H "Authorization: Bearer $SPACES_TOKEN" \\
  -H "Prefer: wait=55" \\
"""
CURL_JSON = """\
  -H "Content-Type: application/json" \\
  -d '{"prompt": "Hello"}'"""
FORM_FIELDS = {
    "prompt": '-F "prompt=Hello"',
    "audio": "-F audio=@speech.wav",
    "video": "-F video=@clip.mp4",
    "file": "-F file=@report.pdf",
}


def connect_code(host: str, name: str) -> str:
    """Return a whole program that serves the space."""
    return CONNECT.format(host=host, name=name)


def api_code(host: str, name: str, inputs: Sequence[str]) -> str:
    """Return a command that sends what the space takes and waits for the answer; as a form once it takes files."""
    fields = CURL_JSON if set(inputs) <= {"prompt"} else " \\\n".join(f"  {FORM_FIELDS[kind]}" for kind in inputs)
    return CURL.format(host=host, name=name) + fields
