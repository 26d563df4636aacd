"""Start the site: ``python run.py [--host HOST] [--port PORT]``.

It makes and migrates its database, and on first start one admin, whose password is printed once.
"""

from __future__ import annotations

from project import concurrency

try:
    concurrency.patch_from_environment()
except ValueError as problem:
    raise SystemExit(f"The site cannot start:\n{problem}") from None

import argparse
import ipaddress
import signal

from project import create_app
from project.config import Settings, SettingsError, load_settings
from project.wiring import Site, claim_folder, configure_logging, say


def main() -> None:
    """Read the command line and serve until stopped by SIGTERM or Ctrl+C."""
    try:
        settings = _settings()
        configure_logging(settings.log_level)
        app = create_app(settings)
        lock = claim_folder(settings)
        listener = concurrency.open_listener(settings.host, settings.port)
        site = Site(app, listener)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: site.request_stop())
        site.prepare()
    except SettingsError as error:
        raise SystemExit(f"The site cannot start:\n{error}") from error
    except OSError as error:
        raise SystemExit(f"The site cannot listen on {settings.host}:{settings.port}: {error.strerror}.") from error
    port = listener.getsockname()[1]
    say(f"WebSocket Spaces is ready: {_address(settings, port)}")
    site.serve()
    del lock
    say("Stopped.")


def _settings() -> Settings:
    parser = argparse.ArgumentParser(description="Start the WebSocket Spaces site.")
    parser.add_argument("--host", help="address to listen on (SPACES_HOST, default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (SPACES_PORT, default 5001)")
    given = parser.parse_args()
    return load_settings(**{name: value for name, value in vars(given).items() if value is not None})


def _address(settings: Settings, port: int) -> str:
    address = ipaddress.ip_address(settings.host) if settings.host[:1].isdigit() or ":" in settings.host else None
    local = address and (address.is_loopback or address.is_unspecified)
    host = "localhost" if local else settings.host
    return settings.public_url or f"http://{host}:{port}"


if __name__ == "__main__":
    main()
