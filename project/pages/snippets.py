"""Ready-to-run code for one space, with this site's address and the space's name filled in."""

from __future__ import annotations

from collections.abc import Sequence

CONNECT = """\
import os
{imports}from spaces_app import App

app = App("{host}", token=os.environ["SPACES_TOKEN"])

@app.space("{name}")
def answer({parameters}):
    return {result}

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


def connect_code(host: str, name: str, inputs: Sequence[str]) -> str:
    """Return a whole program that serves the space: it answers the prompt, or sends files back where there is none."""
    kinds = [kind for kind in inputs if kind != "prompt"]
    alone = len(inputs) == 1
    typed = [f"{kind}: Path" if alone else f"{kind}: Path | None" for kind in kinds if kind != "file"]
    typed += ["files: list[Path]"] if "file" in kinds else []
    given = ["files" if kind == "file" and alone else "*files" if kind == "file" else kind for kind in kinds]
    result = given[0] if alone and kinds else f"[file for file in ({', '.join(given)}) if file]"
    return CONNECT.format(
        imports="from pathlib import Path\n" if kinds else "",
        host=host,
        name=name,
        parameters=", ".join((["prompt: str"] if "prompt" in inputs or not kinds else []) + typed),
        result='"You said: " + prompt' if "prompt" in inputs or not kinds else result,
    )


def api_code(host: str, name: str, inputs: Sequence[str]) -> str:
    """Return a command that sends what the space takes and waits for the answer; as a form once it takes files."""
    fields = CURL_JSON if set(inputs) <= {"prompt"} else " \\\n".join(f"  {FORM_FIELDS[kind]}" for kind in inputs)
    return CURL.format(host=host, name=name) + fields
