"""Connect a function on your own computer to a WebSocket Spaces site.

    from spaces_app import App, Request

    app = App("https://spaces.example.org", token="...")

    @app.space("cats")
    def answer(request: Request) -> str:
        return f"You said: {request.prompt}"

    @app.space("voices")
    def louder(audio: Path) -> Path:
        return amplified(audio)

    app.run()

Files come and go over HTTP, checked and resumed; a handler sees paths. The app dials out and needs no open port.
It comes back by itself after a network failure or a restart of the site, keeps each finished result until the site
has acknowledged it, and stops for good when refused.
"""

import logging

from spaces_app.app import App
from spaces_app.ended import Ended, Refusal
from spaces_app.input_file import InputFile
from spaces_app.media import Media
from spaces_app.observer import Observer
from spaces_app.request import NoAnswer, Request
from spaces_app.transfer import TransferError
from spaces_app.version import __version__

logging.getLogger(__name__).addHandler(logging.NullHandler())

__all__ = [
    "App",
    "Ended",
    "InputFile",
    "Media",
    "NoAnswer",
    "Observer",
    "Refusal",
    "Request",
    "TransferError",
    "__version__",
]
