"""Ready-to-run code for one space, with this site's address and the space's name filled in."""

from __future__ import annotations

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
  -H "Content-Type: application/json" \\
  -d '{{"prompt": "Hello"}}'"""


def connect_code(host: str, name: str) -> str:
    """Return a whole program that serves the space."""
    return CONNECT.format(host=host, name=name)


def api_code(host: str, name: str) -> str:
    """Return a command that sends a prompt and waits for the answer."""
    return CURL.format(host=host, name=name)
