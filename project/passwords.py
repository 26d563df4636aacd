"""Passwords: what is accepted, and how it is kept.

The rules follow NIST SP 800-63B (5.1.1.2): length, no rules of composition, the most common ones refused.
The hash is Argon2id with the floor that OWASP's Password Storage Cheat Sheet names: 19 MiB, 2 passes, 1 lane.
"""

from __future__ import annotations

import secrets
import threading
import unicodedata

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from project.concurrency import in_real_thread
from project.errors import Invalid

MIN_LENGTH = 8
MAX_LENGTH = 200

#: Often guessed first. Shorter ones need no entry: the length refuses them.
_COMMON = """
    password password1 password12 password123 password1234 password! passw0rd p@ssw0rd p@ssword p@ssw0rd1
    12345678 123456789 1234567890 0123456789 0987654321 987654321 87654321 12341234 123123123 11111111 00000000
    88888888 99999999 11223344 112233445566 1q2w3e4r 1q2w3e4r5t 1qaz2wsx 1qazxsw2 q1w2e3r4 q1w2e3r4t5 zaq12wsx
    qwertyui qwertyuiop qwerty12 qwerty123 qwerty1234 qwer1234 asdfghjk asdfghjkl asdf1234 zxcvbnm1 zxcvbnm123
    abcd1234 abc12345 abcdefgh a1b2c3d4 aa123456 a1234567 a12345678 abc123456 iloveyou iloveyou1 sunshine princess
    princess1 football football1 baseball baseball1 superman superman1 starwars trustno1 whatever computer internet
    michelle jennifer jordan23 welcome1 welcome123 letmein1 letmein123 charlie1 liverpool corvette mercedes
    administrator admin123 admin1234 admin12345 adminadmin rootroot changeme changeme1 changeme123 testtest test1234
    default1 secret123 mypassword passpass pass1234 password2 samsung1 pokemon1 dragon12 monkey123 master123
"""
COMMON = frozenset(_COMMON.split())

_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
_DECOY = _HASHER.hash(secrets.token_hex())
#: A flood of sign-ins must leave the relay its processor: so many hashes at once, the others wait.
_SEATS = threading.BoundedSemaphore(2)


def check(password: str, username: str, *, field: str = "password") -> None:
    """Raise :class:`Invalid` for ``field`` when ``password`` is too short, too long or easily guessed."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise Invalid.field(field, f"Use {MIN_LENGTH} to {MAX_LENGTH} characters.")
    plain = password.casefold()
    if plain in COMMON or len(set(plain)) == 1:
        raise Invalid.field(field, "This is one of the most common passwords. Choose another.")
    if plain == username.casefold():
        raise Invalid.field(field, "The password must differ from the user name.")


def generate() -> str:
    """Return a random password of 16 characters (96 bits)."""
    return secrets.token_urlsafe(12)


def hashed(password: str) -> str:
    """Return the Argon2id hash of ``password``; never call it inside a database transaction."""
    with _SEATS:
        return in_real_thread(_HASHER.hash, _bytes(password))


def matches(password: str, password_hash: str | None) -> bool:
    """Say whether ``password`` fits. Without a hash (nobody of that name) it costs the same and fits never."""
    with _SEATS:
        fits = in_real_thread(_fits, password_hash or _DECOY, _bytes(password[: MAX_LENGTH + 1]))
    return fits and password_hash is not None


def _fits(password_hash: str, password: bytes) -> bool:
    try:
        return _HASHER.verify(password_hash, password)
    except VerifyMismatchError:
        return False


def _bytes(password: str) -> bytes:
    """The same characters typed on another keyboard give the same bytes (NFKC, as NIST asks)."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
