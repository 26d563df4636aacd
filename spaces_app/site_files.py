"""The files of one request: where they are on this computer, and their way from and to the site."""

from __future__ import annotations

import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import requests

from spaces_app.download import download
from spaces_app.input_file import InputFile
from spaces_app.local_names import local_name
from spaces_app.media import Media
from spaces_app.transfer import Patience, TransferError, new_http
from spaces_app.upload import upload

FOLDER_PREFIX = "spaces-"
SHOWN_TYPES = ("image", "audio", "video")


class SiteFiles:
    """Fetches and sends the files of one request, one at a time; callable from any thread of its handler.

    ``upload_url`` is where results go. ``failed`` says that some file did not come through, so that the answer is
    good for this attempt only.
    """

    def __init__(self, upload_url: str | None, patience: Patience) -> None:
        self.upload_url = upload_url
        self.failed = False
        self._patience = patience
        self._one_at_a_time = threading.Lock()
        self._making = threading.Lock()
        self._folder: TemporaryDirectory[str] | None = None
        self._http: requests.Session | None = None
        self._closed = False
        self._fetched = 0

    def renew(self, newer: SiteFiles) -> None:
        """Take over the links and the time of a later attempt of the same request."""
        self.upload_url = newer.upload_url
        self._patience.extend(newer._patience)

    @property
    def folder(self) -> Path:
        """The request's own temporary folder, made now if need be. Raises :class:`TransferError` when it is over."""
        with self._making:
            if self._closed:
                raise TransferError("the request is over")
            if self._folder is None:
                self._folder = TemporaryDirectory(prefix=FOLDER_PREFIX, ignore_cleanup_errors=True)
            return Path(self._folder.name)

    def fetch(self, file: InputFile) -> Path:
        """Fetch ``file`` and return where it is. Raises :class:`TransferError`, whose message names the file."""
        with self._one_at_a_time:
            self._fetched += 1
            try:
                inputs = self.folder / "inputs"
                inputs.mkdir(exist_ok=True)
                target = inputs / local_name(file.name, self._fetched)
                download(self._connections(), file, target, self._patience)
            except (TransferError, OSError) as error:
                reason = _reason(error)
            else:
                return target
        self.failed = True
        raise TransferError(f"{file.name} could not be fetched: {reason}.")

    def send(self, media: Media) -> dict[str, Any]:
        """Send a result file and return its part. Raises :class:`TransferError`, whose message names the file."""
        with self._one_at_a_time:
            try:
                told = upload(self._connections(), self._address, media, self.folder, self._patience)
            except (TransferError, OSError) as error:
                reason = _reason(error)
            else:
                return {
                    "type": media.type or _kind(told),
                    "file_id": told["file_id"],
                    "name": str(told.get("name") or media.name),
                }
        self.failed = True
        raise TransferError(f"{media.name} could not be sent: {reason}.")

    def close(self) -> None:
        """Delete the folder and let go of the connections. Nothing can be fetched or sent any more."""
        with self._making:
            self._closed = True
            folder, http = self._folder, self._http
        if folder:
            folder.cleanup()
        if http:
            http.close()

    def _address(self) -> str:
        if not self.upload_url:
            raise TransferError("the site takes no result files")
        return self.upload_url

    def _connections(self) -> requests.Session:
        with self._making:
            self._http = self._http or new_http()
            return self._http


def _reason(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) else str(error)
    return (text or "trouble with a file").rstrip(".")


def _kind(told: dict[str, Any]) -> str:
    """Return the type of part for what the site found the file to be."""
    kind = str(told.get("content_type") or "").partition("/")[0]
    return kind if kind in SHOWN_TYPES else "file"
