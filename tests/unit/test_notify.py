"""Notifications inside one process."""

from __future__ import annotations

import threading

from project.notify.memory import MemoryNotifier
from tests.house import together


def test_only_who_subscribed_to_the_topic_is_woken() -> None:
    notifier = MemoryNotifier()
    with notifier.subscribe("request:1", "user:1") as mine, notifier.subscribe("request:2") as other:
        notifier.publish("user:1")
        assert mine.wait(0)
        assert not other.wait(0)
        assert mine.woken_by() == {"user:1"}
        assert mine.woken_by() == set()


def test_a_change_between_looking_and_waiting_is_not_missed() -> None:
    notifier = MemoryNotifier()
    with notifier.subscribe("request:1") as subscription:
        notifier.publish("request:1")
        notifier.publish("request:1")
        assert subscription.wait(0)
        assert not subscription.wait(0), "what was seen does not wake again"
        notifier.publish("request:1")
        assert subscription.wait(0)


def test_who_left_is_forgotten() -> None:
    notifier = MemoryNotifier()
    with notifier.subscribe("a", "b") as subscription:
        assert notifier.waiters() == 1
    assert notifier.waiters() == 0
    assert notifier._topics == {}
    notifier.publish("a")
    assert not subscription.wait(0)
    notifier.unsubscribe(subscription)


def test_a_waiting_thread_wakes_at_once() -> None:
    notifier, waiting, woken = MemoryNotifier(), threading.Event(), []

    def wait() -> None:
        with notifier.subscribe("a") as subscription:
            waiting.set()
            woken.append(subscription.wait(30))

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(10)
    notifier.publish("a")
    thread.join(10)
    assert woken == [True]


def test_when_the_site_stops_every_wait_ends_now_and_from_now_on() -> None:
    notifier, waiting, ended = MemoryNotifier(), threading.Event(), []

    def wait() -> None:
        with notifier.subscribe("a", "b") as subscription:
            waiting.set()
            ended.append(subscription.wait(30))
            ended.append(subscription.wait(30))

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(10)
    notifier.close()
    thread.join(10)
    assert ended == [False, False], "nothing changed, and nobody is held any longer"


def test_a_time_that_is_over_is_no_wait() -> None:
    with MemoryNotifier().subscribe("a") as subscription:
        assert not subscription.wait(-1)


def test_subscribing_and_publishing_from_many_threads() -> None:
    notifier = MemoryNotifier()

    def subscribe() -> bool:
        with notifier.subscribe("a") as subscription:
            notifier.publish("a")
            return subscription.wait(30)

    assert together([subscribe] * 20) == [True] * 20
    assert notifier.waiters() == 0
