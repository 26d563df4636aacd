"""Every refusal and failure as a page in the site's own look; paths of the API answer JSON instead."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, current_app, g, make_response, redirect, render_template, request, url_for
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from project.api import problems as api_problems
from project.database import is_away
from project.errors import DatabaseAway, SpacesError

API_PREFIX = "/api/"
UNAUTHORIZED = 401
SERVER_ERROR = 500

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Problem:
    """What an error page says: a title, what happened, and what to do next."""

    status: int
    title: str
    text: str
    advice: str
    headers: dict[str, str] = field(default_factory=dict)


_WORDS = {
    400: (
        "This could not be read",
        "The form was open too long or came from elsewhere.",
        "Go back, reload the page and try again.",
    ),
    401: (
        "Sign in first",
        "This page belongs to somebody who is signed in.",
        "Sign in and come back.",
    ),
    403: (
        "Not allowed",
        "Your account may not do this.",
        "Ask an admin of this site if you think it should.",
    ),
    404: (
        "Nothing here",
        "It does not exist, it was removed, or it is not yours.",
        "Check the address, or look in the gallery.",
    ),
    405: (
        "Not this way",
        "This address does not take that kind of call.",
        "Go back and use the page's own buttons.",
    ),
    408: (
        "It took too long",
        "The upload came too slowly or stood still. Nothing of it was kept.",
        "Try again, perhaps with a smaller file or on a better line.",
    ),
    409: (
        "That does not fit any more",
        "Something has changed in the meantime.",
        "Go back and reload the page.",
    ),
    411: (
        "The length is missing",
        "What was sent did not say how long it is.",
        "Use the page's own form.",
    ),
    413: (
        "Too large",
        "What you sent is larger than this site allows.",
        "Send less at once.",
    ),
    415: (
        "Wrong kind of data",
        "The site cannot read this kind of content.",
        "Use the page's own form.",
    ),
    422: (
        "Something is not valid",
        "A field breaks a rule.",
        "Go back and change it.",
    ),
    429: (
        "Too many at once",
        "You sent more than the limit in a short time.",
        "Wait a moment, then try again.",
    ),
    500: (
        "Something broke on our side",
        "It is not your fault, and it has been logged.",
        "Try again. If it stays, tell an admin of this site.",
    ),
    503: (
        "Not available right now",
        "The site cannot do this at the moment.",
        "Try again in a moment; nothing was half done.",
    ),
    507: (
        "No room for files",
        "The disk of this site is nearly full, so it takes no files at the moment.",
        "Send a prompt without files, or tell an admin of this site.",
    ),
}


def register_problems(app: Flask) -> None:
    """Answer every refusal of the site and every HTTP error of ``app``."""
    app.register_error_handler(SpacesError, answer)
    app.register_error_handler(HTTPException, answer)
    app.register_error_handler(SQLAlchemyError, _broken_database)


def answer(error: SpacesError | HTTPException) -> Any:
    """Answer ``error``: JSON for the API, the sign-in page for a visitor who must sign in, else an error page."""
    if request.path.startswith(API_PREFIX):
        return api_problems.answer(error)
    if isinstance(error, HTTPException) and (error.code or SERVER_ERROR) < 400:
        return error
    problem = problem_of(error)
    if problem.status == UNAUTHORIZED and request.method == "GET":
        return redirect(url_for("auth.login", next=request.full_path.rstrip("?")))
    return _page(problem, knows_visitor=not isinstance(error, DatabaseAway) or "_login_user" in g)


def problem_of(error: SpacesError | HTTPException) -> Problem:
    """Return what to say about ``error``; the site's own refusals bring their own words."""
    if isinstance(error, SpacesError):
        title, _, advice = _WORDS.get(error.status, _WORDS[SERVER_ERROR])
        headers = {"Retry-After": str(max(1, round(error.retry_after)))} if error.retry_after else {}
        return Problem(error.status, title, error.message, advice, headers)
    status = error.code if error.code in _WORDS else SERVER_ERROR
    kept = {name: value for name, value in error.get_headers() if name in {"Allow", "Retry-After"}}
    return Problem(status, *_WORDS[status], kept)


def _broken_database(error: SQLAlchemyError) -> Any:
    """A read outside the store failed: say honestly that the database does not answer, or that this is our fault."""
    if is_away(error):
        logger.warning("the database is away: %s", request.path)
        return answer(DatabaseAway(retry_after=1))
    logger.error("database failure at %s", request.path, exc_info=error)
    return answer(SpacesError())


def _page(problem: Problem, *, knows_visitor: bool) -> Response:
    """Draw the page, and where even that would have to ask a database that is away, a bare one that needs nothing."""
    try:
        body = render_template("errors/problem.html", problem=problem) if knows_visitor else _bare(problem)
    except (SpacesError, SQLAlchemyError):
        body = _bare(problem)
    response = make_response(body, problem.status)
    response.headers.update(problem.headers)
    return response


def _bare(problem: Problem) -> str:
    return current_app.jinja_env.get_template("errors/bare.html").render(problem=problem)
