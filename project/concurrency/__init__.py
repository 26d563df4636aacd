"""The only package that names the concurrency modes: eventlet (the default), gevent and threading.

Everything else uses plain ``threading`` primitives, which :func:`patch` makes green where that is needed.
``run.py`` imports this package and patches before anything else is imported. What each mode needs:

=========  ==============================  =======================  ====================
mode       server                          PostgreSQL driver        password hashing in
=========  ==============================  =======================  ====================
eventlet   ``eventlet.wsgi``               psycopg2 (made green)    ``eventlet.tpool``
gevent     ``gevent.pywsgi``               psycopg 3                the hub's thread pool
threading  Werkzeug's (development only)   psycopg 3                the calling thread
=========  ==============================  =======================  ====================

The way of a connection is the same in all three: the door counts it (``door``), its heads are read and checked before
the server's own parser sees them (``heads``, ``lines``), its bodies end in time (``bodies``), and an answer that
nobody takes is cut (``lines``). The bounds are in ``bounds``.
"""

from project.concurrency.bodies import read_within
from project.concurrency.bounds import Bounds
from project.concurrency.door import open_listener
from project.concurrency.lines import Outgoing
from project.concurrency.modes import (
    MODES,
    current_mode,
    database_url,
    give_way,
    in_real_thread,
    patch,
    patch_from_environment,
    within,
)
from project.concurrency.servers import Server

__all__ = [
    "MODES",
    "Bounds",
    "Outgoing",
    "Server",
    "current_mode",
    "database_url",
    "give_way",
    "in_real_thread",
    "open_listener",
    "patch",
    "patch_from_environment",
    "read_within",
    "within",
]
