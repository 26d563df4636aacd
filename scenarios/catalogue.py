"""All scenarios, in the order in which they play."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scenarios import carrying, refusing, serving
from scenarios.stage import Stage


@dataclass(frozen=True)
class Scenario:
    """One scenario: its name, what must happen, and the function that plays it and raises when it does not."""

    title: str
    expected: str
    play: Callable[[Stage], None]


PERFORMANCE = "Performance"

SCENARIOS = (
    Scenario(
        "Basic connection",
        'The mock app shows "Registration successful", the page ✓ Connected',
        serving.basic_connection,
    ),
    Scenario("Single request", "The result comes within 5 seconds", serving.single_request),
    Scenario("Three at once", "From 3 tabs: all 3 results, one at a time, in order", serving.three_at_once),
    Scenario("Ten at once", "All 10 results, one at a time, in order", serving.ten_at_once),
    Scenario(
        "Files both ways", "Audio, video and files reach the app and come back unchanged", carrying.files_both_ways
    ),
    Scenario(
        "Disconnection and return",
        "Refused while disconnected, answered after the return",
        refusing.disconnection_and_return,
    ),
    Scenario("Duplicate space names", "The second space of one name is refused", refusing.duplicate_names),
    Scenario("Duplicate connections", "The second app is refused, the first goes on", refusing.duplicate_connections),
    Scenario("Error handling: failing app", "The user reads the app's own message", refusing.failing_app),
    Scenario("Error handling: garbage", "The right answer arrives all the same", refusing.garbage_from_the_app),
    Scenario("Error handling: wrong token", "The app is refused", refusing.app_without_valid_token),
    Scenario("Error handling: wrong calls", "Each is refused with its reason", refusing.wrong_calls),
    Scenario(PERFORMANCE, "The times are those that were ordered", serving.performance),
)
