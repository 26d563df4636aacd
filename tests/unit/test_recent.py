"""Answers remembered for a moment."""

from project.recent import Recent


def test_an_answer_is_remembered_for_its_time() -> None:
    recent: Recent[str] = Recent(1.0)
    recent.put("a", "answer", 10.0, recent.generation)
    assert recent.get("a", 10.9) == "answer"
    assert recent.get("a", 11.0) is None
    assert recent.get("b", 10.0) is None


def test_clear_forgets_also_what_is_being_asked() -> None:
    recent: Recent[str] = Recent(1.0)
    begun = recent.generation
    recent.put("a", "answer", 10.0, begun)
    recent.clear()
    assert recent.get("a", 10.1) is None
    recent.put("a", "of before", 10.1, begun)
    assert recent.get("a", 10.2) is None


def test_it_keeps_no_more_than_its_size() -> None:
    recent: Recent[int] = Recent(1.0, size=3)
    for number in range(10):
        recent.put(str(number), number, 0.0, recent.generation)
    assert sum(recent.get(str(number), 0.5) is not None for number in range(10)) <= 3
    assert recent.get("9", 0.5) == 9
