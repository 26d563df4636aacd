"""Audio in, words out: what an English recording says, with the times.

    python examples/speech_to_text.py --host http://localhost:5001 --spaces Speech

The model is the English one of PocketSphinx; it ships in the package. PyAV reads what browsers record and phones
send (webm, mp4, ogg, mp3, wav, ...) and brings its own FFmpeg.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import av
from av.audio.resampler import AudioResampler
from pocketsphinx import Decoder

from spaces_app import Request, commandline

RATE = 16_000
SAMPLE_BYTES = 2
PIECE_SECONDS = 1.0
MAX_SECONDS = 600.0


@cache
def model() -> Decoder:
    """Load the model, once."""
    return Decoder(samprate=RATE, loglevel="FATAL")


def answer(audio: Path, request: Request) -> list[dict[str, Any]]:
    """Say what is heard. Raises :class:`ValueError` when it is no audio, or too long."""
    decoder, heard, length = model(), 0.0, duration(audio)
    decoder.start_utt()
    try:
        for piece in pieces(audio):
            if request.cancelled.is_set():
                break
            decoder.process_raw(piece)
            heard += len(piece) / SAMPLE_BYTES / RATE
            if heard > MAX_SECONDS:
                raise ValueError(f"At most {MAX_SECONDS / 60:.0f} minutes are understood at once.")
            request.progress(min(1.0, heard / length) if length else None, f"{heard:.0f} s heard")
    finally:
        decoder.end_utt()
    if not heard:
        raise ValueError("The file has no sound in it.")
    return result(decoder, heard)


def result(decoder: Decoder, seconds: float) -> list[dict[str, Any]]:
    """Return the parts of the answer: the words as text, and the times of each."""
    found = decoder.hyp()
    words = [
        {"word": segment.word.partition("(")[0], "start": segment.start_frame / 100, "end": segment.end_frame / 100}
        for segment in (decoder.seg() if found else ())
        if not segment.word.startswith(("<", "["))
    ]
    text = found.hypstr if found and found.hypstr else "(no words were understood)"
    return [{"type": "text", "text": text}, {"type": "json", "data": {"seconds": round(seconds, 2), "words": words}}]


def pieces(path: Path) -> Iterator[bytes]:
    """Yield the sound of a file in pieces of about a second, as the model wants it: 16 kHz, mono, 16 bits."""
    resampler = AudioResampler(format="s16", layout="mono", rate=RATE)
    waiting = bytearray()
    for samples in sound(path, resampler):
        waiting += samples
        if len(waiting) >= PIECE_SECONDS * RATE * SAMPLE_BYTES:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)


def sound(path: Path, resampler: AudioResampler) -> Iterator[bytes]:
    """Yield the samples of a file's first audio stream. Raises :class:`ValueError` when there is none."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise ValueError("The file has no sound in it.")
            for frame in container.decode(container.streams.audio[0]):
                yield from (part.to_ndarray().tobytes() for part in resampler.resample(frame))
        yield from (part.to_ndarray().tobytes() for part in resampler.resample(None))
    except av.FFmpegError as error:
        raise ValueError("This cannot be read as audio.") from error


def duration(path: Path) -> float | None:
    """Return the seconds that a file says it lasts, if it says so (a browser's recording often does not)."""
    try:
        with av.open(str(path)) as container:
            return container.duration / av.time_base if container.duration else None
    except av.FFmpegError as error:
        raise ValueError("This cannot be read as audio.") from error


if __name__ == "__main__":
    model()
    sys.exit(commandline.serve(answer, "Writes down what an English recording says."))
