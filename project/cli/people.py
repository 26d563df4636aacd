"""Commands about people: ``create-admin`` and ``reset-password``."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from project import accounts, passwords
from project.errors import SpacesError

random_password = click.option("--random", "use_random", is_flag=True, help="Make a random password and print it.")


@click.command("create-admin")
@click.argument("username")
@random_password
@with_appcontext
def create_admin(username: str, use_random: bool) -> None:
    """Make an admin called USERNAME; asks for the password."""
    password = _choose(use_random)
    try:
        user = accounts.create_user(username, password, role="admin")
    except SpacesError as error:
        raise click.ClickException(error.message) from error
    _report(f"Admin {user.username} created.", password if use_random else None)


@click.command("reset-password")
@click.argument("username")
@random_password
@with_appcontext
def reset_password(username: str, use_random: bool) -> None:
    """Set a new password for USERNAME and end all their sessions. Asks for the password."""
    user = accounts.get_by_username(username)
    if user is None:
        raise click.ClickException(f"There is no user called {username}.")
    password = _choose(use_random)
    try:
        accounts.reset_password(user.id, password)
    except SpacesError as error:
        raise click.ClickException(error.message) from error
    _report(f"Password of {user.username} changed; all sessions ended.", password if use_random else None)


def _choose(use_random: bool) -> str:
    """Return a random password, or the one typed twice; never one from the command line, which others can read."""
    if use_random:
        return passwords.generate()
    typed: str = click.prompt("New password", hide_input=True, confirmation_prompt=True)
    return typed


def _report(message: str, password: str | None) -> None:
    click.echo(message)
    if password:
        click.echo(f"Password: {password}")
