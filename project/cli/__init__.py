"""Commands for whoever runs the site: ``flask --app project ...``."""

from __future__ import annotations

from flask import Flask

from project.cli.keeping import backup_command, prune_command, restore_command
from project.cli.people import create_admin, reset_password

COMMANDS = (create_admin, reset_password, backup_command, restore_command, prune_command)


def register_commands(app: Flask) -> None:
    """Add the commands to ``app``."""
    for command in COMMANDS:
        app.cli.add_command(command)
