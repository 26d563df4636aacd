"""The shapes of tokens in the HTTP API."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, Field

from project.api.models import Shape
from project.token_rules import MAX_NAME

Scope = Literal["app", "api", "admin"]


class TokenPath(Shape):
    """Which token."""

    token_id: int = Field(description="The token's id")


class TokenCreate(Shape):
    """A new token."""

    name: str = Field(max_length=MAX_NAME, description="So that you know it again", examples=["My computer"])
    scopes: list[Scope] = Field(
        min_length=1,
        description="`app`: connect apps; `api`: use this API in your name; `admin`: run the site (admins)",
    )
    spaces: list[str] | None = Field(
        None, max_length=1000, description="Names of the spaces that it may connect; none: all that you may connect"
    )
    expires_at: AwareDatetime | None = Field(None, description="ISO 8601 with time zone; null: never")


class TokenObject(Shape):
    """A token, without its text."""

    id: int
    prefix: str = Field(description="How its text begins")
    name: str
    scopes: list[Scope]
    spaces: list[str] = Field(description="Names of the spaces it is limited to; empty: no limit")
    expires_at: str | None = Field(description="ISO 8601, UTC")
    last_used_at: str | None = Field(description="ISO 8601, UTC; at most a minute old")


class NewTokenObject(TokenObject):
    """A token just made, with its text."""

    token: str = Field(description="The text itself: shown only this once")


class TokenList(Shape):
    """Your tokens, newest first."""

    items: list[TokenObject]
    next_cursor: str | None = Field(description="Always null: there is one page")
