"""A listener that nobody should ever connect to: whoever fetches what strangers name is caught here."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Trap:
    """Answers every call, and keeps what was asked for in ``calls``."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        calls = self.calls

        class Handler(BaseHTTPRequestHandler):
            def handle_one_request(self) -> None:
                """Note the connection, whatever it speaks."""
                self.raw_requestline = self.rfile.readline(1_000)
                calls.append(self.raw_requestline.decode("latin-1"))
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi")
                self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent names it so
                """Keep the output of the tests clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
