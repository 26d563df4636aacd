"""Prompt in, sentiment out: how friendly or unfriendly an English text is, as a whole and sentence by sentence.

    python examples/sentiment.py --host http://localhost:5001 --spaces Sentiment

The model is VADER, a list of words with rules for "not", "very" and exclamation marks; it ships in its package.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from typing import Any

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from spaces_app import Request, commandline

SENTENCE_END = re.compile(r"(?<=[.!?])\s+|\n+")
LEAST = 0.05
MAX_SENTENCES = 200


@cache
def model() -> SentimentIntensityAnalyzer:
    """Load the model, once."""
    return SentimentIntensityAnalyzer()


def answer(prompt: str, request: Request) -> list[dict[str, Any]]:
    """Rate a text. Raises :class:`ValueError` when it is empty or too long."""
    sentences = [part.strip() for part in SENTENCE_END.split(prompt) if part.strip()]
    if not sentences:
        raise ValueError("Type a sentence or two.")
    if len(sentences) > MAX_SENTENCES:
        raise ValueError(f"That are {len(sentences)} sentences; at most {MAX_SENTENCES} are rated at once.")
    rated = []
    for number, sentence in enumerate(sentences):
        if request.cancelled.is_set():
            break
        rated.append({"sentence": sentence, **rating(sentence)})
        request.progress((number + 1) / len(sentences), f"{number + 1} of {len(sentences)} sentences")
    whole = rating(prompt)
    text = f"The text is **{whole['sentiment']}** ({whole['score']:+.2f}, from -1 to +1)."
    return [{"type": "markdown", "text": text}, {"type": "json", "data": {**whole, "sentences": rated}}]


def rating(text: str) -> dict[str, Any]:
    """Return the sentiment of a text: its name, and its score between -1 and +1."""
    score = model().polarity_scores(text)["compound"]
    name = "positive" if score >= LEAST else "negative" if score <= -LEAST else "neutral"
    return {"sentiment": name, "score": score}


if __name__ == "__main__":
    model()
    sys.exit(commandline.serve(answer, "Says how friendly a text is."))
