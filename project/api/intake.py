"""How a submit is read, from a page or a program: JSON, or a form with files that go straight to the storage."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

from flask import request

from project import identity
from project.api.bodies import no_constant, read_json
from project.api.models import Submission
from project.api.presenters import space_limits
from project.api.uploads import read_form, upload_place
from project.config import Settings
from project.errors import Invalid, TooLarge
from project.file_reception import MEGABYTE, Allowance, Reception
from project.models import Space, User
from project.services import services
from project.submission import FILE_FIELDS, Accepted, accepting, check_open, check_room, submit
from project.validation import deeper_than, parse
from project.web_security import check_form

#: The longest that JSON can spell one character: a pair of ``\uXXXX``.
BYTES_PER_CHARACTER = 12


class Intake:
    """One submit to ``space``, with its ``Idempotency-Key`` if it has one.

    ``fields`` are what was read of it so far, also after a refusal.
    """

    def __init__(self, space: Space, key: str | None = None) -> None:
        self._space = space
        self._key = key
        self._settings = services().settings
        self.fields: dict[str, Any] = {}

    def accept(self, user: User) -> Accepted:
        """Read the body and return the accepted request.

        Raises what :func:`project.submission.submit` and :func:`project.api.uploads.read_form` raise, and what
        :func:`project.api.bodies.read_json` does; then nothing was accepted and nothing of a file is left.
        """
        with accepting(user.id, self._key):
            return self._accept(user)

    def _accept(self, user: User) -> Accepted:
        if request.mimetype == "multipart/form-data":
            return self._accept_form(user)
        request.max_content_length = self._text_bytes
        body = read_json()
        if not isinstance(body, dict):
            raise Invalid("The body must be a JSON object.")
        self.fields = body
        for field in FILE_FIELDS:
            if body.get(field) is not None:
                raise Invalid.field(field, "files come as multipart/form-data, not as JSON")
        return self._submit(user, body, None)

    def _accept_form(self, user: User) -> Accepted:
        with upload_place(f"user:{user.id}"):
            return self._read_form(user)

    def _read_form(self, user: User) -> Accepted:
        form: dict[str, str] = {}
        self.fields = form
        is_known = self._is_known(user)

        def before_a_file() -> None:
            if reception.files:
                return
            check_form(form)
            if not is_known:
                check_open(self._space, user)
                check_room(user, request.content_length or 0)

        with services().files.receive(self._allowance(is_known)) as reception:
            read_form(
                reception,
                form,
                stall=self._settings.upload_stall,
                text_bytes=self._text_bytes,
                begin=before_a_file,
            )
            check_form(form)
            fields: dict[str, Any] = {name: value for name, value in form.items() if name != "csrf_token"}
            for field in FILE_FIELDS:
                if fields.pop(field, ""):
                    raise Invalid.field(field, "must be a file")
            if "parameters" in fields:
                fields["parameters"] = _read_parameters(fields["parameters"])
            return self._submit(user, fields, reception)

    def _is_known(self, user: User) -> bool:
        return self._key is not None and services().store.knows_key(user.id, self._key, time.time())

    def _allowance(self, is_known: bool) -> Allowance:
        """Return what may come; for what was accepted once it does not matter what the space takes by now."""
        allowed = allowance(self._space, self._settings)
        return replace(allowed, fields=frozenset(FILE_FIELDS)) if is_known else allowed

    def _submit(self, user: User, fields: dict[str, Any], reception: Reception | None) -> Accepted:
        submission = parse(Submission, fields)
        prompt = _as_written(submission.prompt or "") if reception else submission.prompt or ""
        _check_prompt(prompt, self._settings.max_prompt_chars)
        _check_parameters(submission.parameters or {}, self._settings.max_json_depth, self._max_parameters)
        return submit(self._space, user, prompt, submission.parameters or {}, reception, key=self._key)

    @property
    def _text_bytes(self) -> int:
        return (self._settings.max_prompt_chars + self._max_parameters) * BYTES_PER_CHARACTER

    @property
    def _max_parameters(self) -> int:
        return int(self._settings.max_parameters_kb * 1_000)


def allowance(space: Space, settings: Settings) -> Allowance:
    """Return what files a submit to ``space`` may bring."""
    limits = space_limits(space, settings)
    fields = frozenset(field for field in FILE_FIELDS if getattr(space, f"input_{field}"))
    return Allowance(fields, limits["files"], int(limits["upload_mb"] * MEGABYTE))


def _as_written(prompt: str) -> str:
    """Undo what browsers do to the line ends of a form's fields; programs send what they mean."""
    return prompt if identity.presents_token() else prompt.replace("\r\n", "\n")


def _read_parameters(text: str) -> Any:
    if not text.strip():
        return None
    try:
        return json.loads(text, parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise Invalid.field("parameters", "must be the JSON text of an object") from error


def _check_prompt(prompt: str, limit: int) -> None:
    if len(prompt) > limit:
        message = f"has {len(prompt)} characters; {limit} are allowed"
        raise TooLarge(f"prompt: {message}", details=[{"field": "prompt", "message": message}])


def _check_parameters(parameters: dict[str, Any], levels: int, limit: int) -> None:
    """Refuse what is too deep, too large, or could not be written as JSON again."""
    if deeper_than(parameters, levels):
        raise Invalid.field("parameters", f"must be at most {levels} levels deep")
    try:
        size = len(json.dumps(parameters, ensure_ascii=False, allow_nan=False).encode())
    except ValueError as error:
        raise Invalid.field("parameters", "must hold finite numbers and valid Unicode only") from error
    if size > limit:
        message = f"take {size} bytes as JSON; {limit} are allowed"
        raise TooLarge(f"parameters: {message}", details=[{"field": "parameters", "message": message}])
