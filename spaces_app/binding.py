"""Which of a request's inputs a handler takes, read from its parameters.

==========================  ==========================================================================
parameter                   gets
==========================  ==========================================================================
``prompt``, ``text``        the prompt, a ``str``
``audio, video, file``      a ``pathlib.Path``: the first file of that field; ``None``, or the default,
                            when the user sent none; without either the request fails
``files``                   a list of ``pathlib.Path``, all files in order, perhaps empty
``parameters``              a ``dict``
``request``, or a Request   the :class:`spaces_app.Request`
any other first one         the prompt when it is a ``str``, else the :class:`spaces_app.Request`
any other with a default    nothing: it keeps its default
==========================  ==========================================================================
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_args

from spaces_app.request import Request

Handler = Callable[..., Any]

EMPTY = inspect.Parameter.empty
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL)
MEDIA = {"audio": "an audio file", "video": "a video file", "file": "a file"}
INPUTS = {"prompt": "prompt", "text": "prompt", "files": "files", "parameters": "parameters", "request": "request"}
INPUTS |= {field: field for field in MEDIA}


class MissingInput(Exception):
    """The user did not send a file that the handler cannot do without; the message is for that user."""


def call(handler: Handler, request: Request) -> Any:
    """Call ``handler`` with what it takes of ``request``; its files are fetched first.

    Raises :class:`MissingInput`, :class:`spaces_app.TransferError`, and whatever the handler raises.
    """
    by_place: list[Any] = []
    by_name: dict[str, Any] = {}
    for parameter, source in _bindings(handler):
        value = _value(parameter, source, request)
        if parameter.kind in BY_PLACE:
            by_place.append(value)
        else:
            by_name[parameter.name] = value
    return handler(*by_place, **by_name)


def check(handler: Handler) -> None:
    """Raise :class:`TypeError` when ``handler`` takes nothing, or something that no request has."""
    _bindings(handler)


def _bindings(handler: Handler) -> list[tuple[inspect.Parameter, str]]:
    parameters = _parameters(handler)
    if not parameters:
        raise TypeError("a handler takes at least one argument: a Request, or the prompt as a str")
    found = [(parameter, _source(parameter, first=not index)) for index, parameter in enumerate(parameters)]
    return [(parameter, source) for parameter, source in found if source]


def _parameters(handler: Handler) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(handler, eval_str=True).parameters.values())
    except NameError:  # an annotation that exists for type checkers only
        return list(inspect.signature(handler).parameters.values())


def _source(parameter: inspect.Parameter, *, first: bool) -> str | None:
    """Return the input that ``parameter`` gets; ``None`` when it keeps its default."""
    name, annotation = parameter.name, parameter.annotation
    if annotation in (Request, "Request"):
        return "request"
    if name in INPUTS and parameter.kind not in VARIADIC:
        return _named_source(name, annotation, first=first)
    if first and parameter.kind is not inspect.Parameter.VAR_KEYWORD:
        return "prompt" if annotation in (str, "str") else "request"
    if parameter.default is EMPTY and parameter.kind not in VARIADIC:
        raise TypeError(f"no request has a {name!r}: a handler's parameters are {', '.join(INPUTS)}")
    return None


def _named_source(name: str, annotation: object, *, first: bool) -> str:
    is_text = annotation in (str, "str")
    if name in MEDIA and is_text:
        raise TypeError(f"{name!r} is given as a pathlib.Path, not as a str")
    return "prompt" if first and is_text else INPUTS[name]


def _value(parameter: inspect.Parameter, source: str, request: Request) -> Any:
    if source == "request":
        return request
    if source == "files":
        return [file.path for file in request.files]
    return _media(parameter, source, request) if source in MEDIA else getattr(request, source)


def _media(parameter: inspect.Parameter, field: str, request: Request) -> Any:
    sent = request.first(field)
    if sent:
        return sent.path
    if parameter.default is not EMPTY:
        return parameter.default
    if _may_be_none(parameter.annotation):
        return None
    raise MissingInput(f"This space needs {MEDIA[field]}.")


def _may_be_none(annotation: object) -> bool:
    if isinstance(annotation, str):
        return "None" in annotation or "Optional" in annotation
    return type(None) in get_args(annotation)
