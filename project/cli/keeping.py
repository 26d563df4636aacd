"""Commands about what the site keeps: ``backup``, ``restore`` and ``prune``; ``docs/operations.md`` explains them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import click
from flask.cli import with_appcontext
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from project import portable_rows, schema
from project.archive import BadArchive
from project.backup import MEGABYTE, NO_SITE, Refused, Taken, take
from project.database import Database
from project.errors import DatabaseAway, SpacesError
from project.file_storage import FolderStorage
from project.pruning import Due, Pruner, gone
from project.restore import Restored, restore
from project.services import Services, services
from project.sqlite_file import lock_folder

#: Exit status of a backup that was made, but lacks files that the site itself has lost.
INCOMPLETE = 3
DAY = 86_400.0
#: How often a busy database is asked, and the seconds between.
TRIES, PAUSE = 60, 1.0

replace_option = click.option("--replace", is_flag=True, help="Move the site that is there aside.")
before_option = click.option(
    "--before", "days", type=click.FloatRange(min=0), help="Requests that ended so many DAYS ago, not the retention."
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would go, and delete nothing.")
compact_option = click.option("--compact", is_flag=True, help="Give the database's free space back to the disk.")


class Progress:
    """Prints how far something is, one line a second."""

    def __init__(self, seconds: float = 1.0, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._monotonic = seconds, monotonic
        self._next = monotonic() + seconds

    def __call__(self, line: str) -> None:
        """Print ``line`` unless the last one is too fresh."""
        now = self._monotonic()
        if now >= self._next:
            self._next = now + self._seconds
            click.echo(line, err=True)


@click.command("backup")
@click.argument("target", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@with_appcontext
def backup_command(target: Path) -> None:
    """Write database, files and key to FILE, while the site runs.

    Exit status 3: the backup is made, but the site has lost files that it should have.
    """
    site = services()
    with _said_plainly("The backup failed."):
        taken = take(site.settings, site.database, site.files, target, Progress())
    _report_taken(target, taken)
    if site.settings.secret_key:
        click.echo("The signing key is not in it, since SPACES_SECRET_KEY gives it: keep that too.")
    if taken.missing:
        raise SystemExit(INCOMPLETE)


def _report_taken(target: Path, taken: Taken) -> None:
    rows = sum(taken.rows.values())
    click.echo(f"{target}: {rows} rows, {taken.files} files, {taken.bytes / MEGABYTE:.1f} MB. Keep it secret.")
    if taken.deleted:
        click.echo(f"{len(taken.deleted)} requests were deleted meanwhile; a restore leaves them out.")
    for file_id, why in sorted(taken.missing.items()):
        click.echo(f"Missing on the site itself: file {file_id}: {why}.", err=True)
    if taken.missing:
        click.echo(f"{len(taken.missing)} files are missing.", err=True)


@click.command("restore")
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@replace_option
@with_appcontext
def restore_command(source: Path, replace: bool) -> None:
    """Make the site what it was when the backup FILE was taken. The site must be stopped."""
    site = services()
    with _said_plainly("The restore failed, and nothing has changed."):
        done = restore(site.settings, site.database, source, replace=replace, say=Progress())
    _report_restored(site, done)


def _report_restored(site: Services, done: Restored) -> None:
    manifest = done.manifest
    click.echo(f"Restored what was there at {manifest.taken_at}: {done.rows} rows, {done.files} files.")
    if manifest.missing:
        click.echo(f"{len(manifest.missing)} files were missing on the site already; their requests are there.")
    if done.aside:
        click.echo(f"What was there before is kept in {done.aside}{_and_schema(site, done)}.")
    if not manifest.has_key:
        click.echo("The backup has no signing key: set SPACES_SECRET_KEY as it was, or everybody signs in anew.")
    elif site.settings.secret_key:
        click.echo("SPACES_SECRET_KEY goes before the signing key of the backup.")


def _and_schema(site: Services, done: Restored) -> str:
    named = f" and, of the database, in the schema {done.aside.name}" if done.aside else ""
    return "" if site.database.is_sqlite else named


@click.command("prune")
@before_option
@dry_run_option
@compact_option
@with_appcontext
def prune_command(days: float | None, dry_run: bool, compact: bool) -> None:
    """Delete now what the retention allows, and what nothing names any more. The site may run."""
    site, now = services(), time.time()
    if site.database.file and not site.database.file.exists():
        raise click.ClickException(NO_SITE)
    storage = FolderStorage(site.settings.files_dir, min_free=0)
    before = now - (site.settings.retention_days if days is None else days) * DAY
    pruner = Pruner(site.database, storage, before=before, now=now, grace=site.settings.grace)
    with _said_plainly("Pruning stopped; what is gone is gone, and the rest goes next time."):
        _check_schema(site.database)
        due = pruner.due()
        if dry_run:
            _report_due(due, "would go")
            return
        site.files.claim_storage()
        patiently(lambda: pruner.delete(site.files, site.store))
        _report_due(gone(due, pruner.due()), "deleted")
        if compact:
            _compact(site)


def _check_schema(database: Database) -> None:
    with database.read() as connection:
        revision = portable_rows.revision(connection)
    if revision is None:
        raise Refused(NO_SITE)
    if revision != schema.newest():
        raise Refused("The database is of another version than this program: start the site, which migrates it.")


def _report_due(found: list[Due], how: str) -> None:
    for one in found:
        size = "" if one.bytes is None else f", {one.bytes} bytes"
        click.echo(f"{one.what}: {one.count}{size} {how}")


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def patiently(action: Callable[[], None], pause: Callable[[float], object] = _pause) -> None:
    """Do it, asking a busy database again after a :data:`PAUSE`: the site goes first."""
    for left in reversed(range(TRIES)):
        try:
            action()
            return
        except DatabaseAway:
            if not left:
                raise
            pause(PAUSE)


def _compact(site: Services) -> None:
    """Rewrite the database without its holes. On SQLite nobody can write meanwhile, so no site may run."""
    lock = lock_folder(site.settings.data_dir) if site.database.is_sqlite else None
    if site.database.is_sqlite and lock is None:
        raise Refused("Compacting an SQLite database needs the site stopped.")
    tables = [""] if site.database.is_sqlite else [f" {name}" for name in portable_rows.KNOWN]
    with lock or nullcontext(), site.database.read() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        for table in tables:
            connection.execute(text(f"VACUUM{table}"))
    click.echo("The database is compact.")


@contextmanager
def _said_plainly(what: str) -> Iterator[None]:
    """Turn what can go wrong into a line without a traceback, and exit status 1."""
    try:
        yield
    except (Refused, BadArchive) as error:
        raise click.ClickException(str(error)) from error
    except SpacesError as error:
        raise click.ClickException(f"{what} {error.message}") from error
    except (OSError, SQLAlchemyError) as error:
        raise click.ClickException(f"{what} {str(error).splitlines()[0]}") from error
