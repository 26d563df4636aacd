"""From what pydantic found wrong to the site's own refusal, naming every field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from project.errors import Invalid

M = TypeVar("M", bound=BaseModel)


def refusal(error: ValidationError) -> Invalid:
    """Return the refusal for ``error``; its details are ``[{"field", "message"}]``, one for each wrong field."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    details = [{"field": _field(item["loc"]), "message": _say(str(item["msg"]))} for item in found]
    return Invalid("; ".join(f"{item['field']}: {item['message']}" for item in details), details=details)


def parse(model: type[M], data: Mapping[str, Any]) -> M:
    """Return ``data`` as ``model``. Raises :class:`Invalid` naming every wrong field."""
    try:
        return model.model_validate(dict(data))
    except ValidationError as error:
        raise refusal(error) from error


def storable(text: str) -> str:
    """Return ``text`` if every database can keep it. Raises :class:`ValueError` for NUL and half surrogate pairs."""
    if "\x00" in text:
        raise ValueError("must not contain NUL characters")
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("must be valid Unicode")
    return text


def _field(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "body"


def _say(message: str) -> str:
    return message.removeprefix("Value error, ")


def deeper_than(value: Any, levels: int) -> bool:
    """Whether objects and lists are nested more than ``levels`` deep."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(deeper_than(item, levels - 1) for item in inner)
