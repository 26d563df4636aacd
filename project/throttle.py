"""How often passwords may be guessed. This stays on whatever ``SPACES_RATE_LIMITS`` says.

Three bounds, counted in this process: wrong passwords in a row for one account from one address, wrong ones
for one account from anywhere, and wrong ones from one address. The first is taken before the password is
looked at, so that simultaneous guesses cannot slip through, and is given back by the right one.
"""

from __future__ import annotations

import threading
import time

from limits import RateLimitItem, RateLimitItemPerHour, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from project.addresses import network
from project.errors import RateLimited

#: Nine wrong ones are answered, the tenth in a quarter of an hour is refused.
PER_PAIR = RateLimitItemPerMinute(9, 15, namespace="pair")
#: NIST SP 800-63B (5.2.2) allows at most 100 wrong ones in a row for one account.
PER_ACCOUNT = RateLimitItemPerHour(100, namespace="account")
PER_ADDRESS = RateLimitItemPerHour(300, namespace="address")

MESSAGE = "Too many wrong passwords. Wait a while, then try again."


class SignInThrottle:
    """Counts wrong passwords; safe to use from many threads."""

    def __init__(self) -> None:
        self._storage = MemoryStorage()
        self._limiter = MovingWindowRateLimiter(self._storage)
        # The memory storage may lose a count, or fail, when one key is hit and cleared at the same time.
        self._lock = threading.Lock()

    def admit(self, account: str, address: str) -> None:
        """Let one guess pass, or raise :class:`RateLimited` with the seconds to wait."""
        source = network(address)
        with self._lock:
            for item, keys in ((PER_ACCOUNT, (account,)), (PER_ADDRESS, (source,))):
                if not self._limiter.test(item, *keys):
                    self._refuse(item, *keys)
            if not self._limiter.hit(PER_PAIR, account, source):
                self._refuse(PER_PAIR, account, source)

    def failed(self, account: str, address: str) -> None:
        """Count a wrong password in the wide bounds as well."""
        with self._lock:
            self._limiter.hit(PER_ACCOUNT, account)
            self._limiter.hit(PER_ADDRESS, network(address))

    def succeeded(self, account: str, address: str) -> None:
        """Forget the wrong ones in a row of this account from this address."""
        keys = (account, network(address))
        with self._lock, self._storage.locks[PER_PAIR.key_for(*keys)]:
            self._limiter.clear(PER_PAIR, *keys)

    def _refuse(self, item: RateLimitItem, *keys: str) -> None:
        wait = self._limiter.get_window_stats(item, *keys).reset_time - time.time()
        raise RateLimited(MESSAGE, retry_after=max(1.0, wait))
