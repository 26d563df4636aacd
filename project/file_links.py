"""Signed, expiring addresses: what an app may fetch and where it may bring its files, without any other credential.

The signature covers what the link is for, so that no part of it can be exchanged. Whether the attempt is
still current is asked anew at each use (:mod:`project.files`); the expiry is only the outermost bound.
"""

from __future__ import annotations

import hashlib
import re
from hmac import compare_digest
from urllib.parse import urlencode

from itsdangerous import Signer

from project.errors import Forbidden, NotFound

DOWNLOAD_PATH = "/api/v1/files/{}"
UPLOAD_PATH = "/api/v1/attempts/{}/files"
#: Seconds beyond the deadline after which a link is dead whatever happened: a restart may have moved the deadline.
BEYOND_DEADLINE = 3_600
LOGGED_SIGNATURE = re.compile(r"(signature=)[^&\s\"']+")


class FileLinks:
    """Signs and checks links with the site's key."""

    def __init__(self, secret: str) -> None:
        self._signer = Signer(secret, salt="file-links", key_derivation="hmac", digest_method=hashlib.sha256)

    def download(self, base: str, file_id: str, attempt_id: str, deadline: float) -> str:
        """Return the address of a file for the attempt, below ``base``; ``deadline`` is Unix seconds."""
        expires = int(deadline) + BEYOND_DEADLINE
        signed = {"attempt": attempt_id, "expires": expires, "signature": self._sign(file_id, attempt_id, expires)}
        return f"{base}{DOWNLOAD_PATH.format(file_id)}?{urlencode(signed)}"

    def upload(self, base: str, attempt_id: str, deadline: float) -> str:
        """Return the address that takes the attempt's files, below ``base``; ``deadline`` is Unix seconds."""
        expires = int(deadline) + BEYOND_DEADLINE
        signed = {"expires": expires, "signature": self._sign("upload", attempt_id, expires)}
        return f"{base}{UPLOAD_PATH.format(attempt_id)}?{urlencode(signed)}"

    def check_download(self, file_id: str, attempt_id: str, expires: int, signature: str, now: float) -> None:
        """Raise :class:`NotFound` for a link that the site never made, :class:`Forbidden` for one that has expired."""
        self._check(file_id, attempt_id, expires, signature, now)

    def check_upload(self, attempt_id: str, expires: int, signature: str, now: float) -> None:
        """Raise as :meth:`check_download`."""
        self._check("upload", attempt_id, expires, signature, now)

    def _sign(self, subject: str, attempt_id: str, expires: int) -> str:
        return self._signer.get_signature(f"{subject} {attempt_id} {expires}").decode("ascii")

    def _check(self, subject: str, attempt_id: str, expires: int, signature: str, now: float) -> None:
        # As text, not decoded: base64 has several spellings of the same bytes.
        if not compare_digest(self._sign(subject, attempt_id, expires).encode(), signature.encode("utf-8", "replace")):
            raise NotFound("There is no such file.")
        if now >= expires:
            raise link_over()


def link_over() -> Forbidden:
    """Return the refusal of a link whose time, or whose attempt, is over."""
    return Forbidden("This link is over: it was valid only while its attempt was current.")


def without_signatures(text: str) -> str:
    """Return ``text`` without the signature of any link in it, for logs."""
    return LOGGED_SIGNATURE.sub(r"\1...", text)
