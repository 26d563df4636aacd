"""How much the soak puts on a site, and how it is set up for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Load:
    """The load of one soak. Times are seconds; each person and poller keeps its own interval.

    A status call has a fixed interval and not "as fast as possible": that is what open pages do, and it leaves the
    machine idle enough for its figures to be the site's.
    """

    seconds: float
    spaces: int = 20
    users: int = 50
    #: Those who ask for the status of a request again and again, those who wait in a held call, and open pages.
    pollers: int = 400
    waiters: int = 80
    pages: int = 20
    poll_seconds: float = 4.0
    #: Between two submits of one user.
    submit_seconds: float = 8.0
    #: What an app takes for a request: between these.
    compute_seconds: tuple[float, float] = (0.2, 1.5)
    #: Between two acts of churn, in each of the two programs that hold the apps.
    churn_seconds: float = 4.0
    #: Between two ``kill -9`` of the site; 0: never.
    kill_seconds: float = 0.0
    #: Shares of the submits that carry a file, and that are cancelled.
    with_file: float = 0.1
    cancelled: float = 0.05
    #: The share of the time in which the machine may be too busy with other things to say anything about the site.
    starved: float = 0.1

    @property
    def warm_up_seconds(self) -> float:
        """Until caches, pools and the allocator have what they need; nothing is compared before."""
        return min(60.0, self.seconds / 3)


#: Within one minute, beside two other programs that test something on the same two cores.
SUITE = Load(seconds=60.0, poll_seconds=8.0, starved=1.0)

#: Three things differ from a site at home: no rate limits, since all callers share one address and few accounts;
#: room for 500 pollers of 50 users; and a short grace, so that a minute sees whole lives of requests.
SETTINGS: dict[str, Any] = {
    "SPACES_RATE_LIMITS": "off",
    "SPACES_LOG_LEVEL": "WARNING",
    "SPACES_GRACE": 3,
    "SPACES_REQUEST_TIMEOUT": 30,
    "SPACES_USER_QUEUE_LENGTH": 1_000,
    "SPACES_HELD_CALLS_PER_USER": 1_000,
}
