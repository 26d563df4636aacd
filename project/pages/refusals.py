"""How a form answers: plainly at first, with the fitting status once something was refused."""

from __future__ import annotations

from typing import Any

from flask import make_response, render_template
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response

from project.errors import Invalid, SpacesError


def form_page(template: str, form: FlaskForm, error: SpacesError | None = None, **context: Any) -> Response:
    """Draw ``form`` with what was typed; the status is that of ``error``, or 422 for a field that was not filled in."""
    response = make_response(render_template(template, form=form, **context))
    if error is not None:
        response.status_code = error.status
        response.headers.update(retry_header(error))
    elif form.is_submitted():
        response.status_code = Invalid.status
    return response


def retry_header(error: SpacesError) -> dict[str, str]:
    """Return the header ``Retry-After`` in whole seconds, if the refusal says when to come back."""
    return {"Retry-After": str(max(1, round(error.retry_after)))} if error.retry_after else {}
