"""Video in, motion out: when something moves, and the same video with frames around it.

    python examples/motion.py --host http://localhost:5001 --spaces Motion

The model is a background of Gaussian mixtures (OpenCV's MOG2) that learns from the video itself. PyAV reads what
browsers record and phones send, and writes H.264 in mp4, which browsers play.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from spaces_app import Media, Request, commandline

Picture = NDArray[Any]

MAX_SECONDS = 600.0
MAX_SIDE = 1280
LEARNING_SECONDS = 0.5
LEAST_SHARE = 0.002
JOIN_SECONDS = 0.5
FRAME_COLOUR = (0, 0, 255)
TIME_BASE = Fraction(1, 1_000)


@dataclass
class Seen:
    """What was found so far. Times are in seconds."""

    times: list[tuple[float, float]] = field(default_factory=list)
    most: float = 0.0
    most_at: float = 0.0
    picture: Picture | None = None
    seconds: float = 0.0

    def note(self, at: float, share: float, picture: Picture) -> None:
        """Take in one picture, of which ``share`` moves."""
        self.seconds = at
        if share < LEAST_SHARE:
            return
        if self.times and at - self.times[-1][1] <= JOIN_SECONDS:
            self.times[-1] = (self.times[-1][0], at)
        else:
            self.times.append((at, at))
        if share > self.most:
            self.most, self.most_at, self.picture = share, at, picture


class Film:
    """A video that is written to ``path``, in the size of its first picture."""

    def __init__(self, path: Path) -> None:
        self.stream: Any = None
        self._out = av.open(str(path), "w", options={"movflags": "faststart"})
        self._next = 0

    def add(self, at: float, picture: Picture) -> None:
        """Add a picture that is seen from ``at`` seconds on; times that do not rise are moved."""
        self.stream = self.stream or self._begin(picture)
        size = (self.stream.width, self.stream.height)
        resized: Picture = cv2.resize(picture, size)
        frame = av.VideoFrame.from_ndarray(resized, "bgr24")
        frame.time_base = TIME_BASE
        frame.pts = max(self._next, round(at / TIME_BASE))
        self._next = frame.pts + 1
        self._out.mux(self.stream.encode(frame))

    def close(self) -> None:
        """Write the end."""
        if self.stream:
            self._out.mux(self.stream.encode(None))
        self._out.close()

    def _begin(self, picture: Picture) -> Any:
        stream = self._out.add_stream("libx264", options={"preset": "veryfast", "crf": "26"})
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt, stream.codec_context.time_base = "yuv420p", TIME_BASE
        return stream


def answer(video: Path, request: Request) -> list[Any]:
    """Find what moves. Raises :class:`ValueError` when it is no video, or too long."""
    target = request.folder / "motion.mp4"
    seen, length = Seen(), duration(video)
    with closing(Film(target)) as film:
        for at, picture in watched(video, seen):
            if request.cancelled.is_set():
                return ["Cancelled."]
            if at > MAX_SECONDS:
                raise ValueError(f"At most {MAX_SECONDS / 60:.0f} minutes are watched at once.")
            film.add(at, picture)
            request.progress(min(1.0, at / length) if length else None, f"{at:.0f} s watched")
        if film.stream is None:
            raise ValueError("The file has no pictures in it.")
    return report(seen, target, Path(request.video.name).stem if request.video else "video")


def report(seen: Seen, target: Path, name: str) -> list[Any]:
    """Return the parts of the answer: the times, the video, and the picture in which most moved."""
    times = [{"start": round(start, 2), "end": round(end, 2)} for start, end in seen.times]
    lines = [f"- {one['start']:.1f} s to {one['end']:.1f} s" for one in times] or ["Nothing moves."]
    data = {"seconds": round(seen.seconds, 2), "motion": times}
    parts: list[Any] = [
        {"type": "markdown", "text": "\n".join(["**Motion**", "", *lines])},
        {"type": "json", "data": data},
        Media(target, name=f"{name}-motion.mp4"),
    ]
    if seen.picture is not None:
        still = cv2.imencode(".jpg", seen.picture)[1].tobytes()
        parts.append(Media(still, name=f"{name}-at-{seen.most_at:.1f}s.jpg"))
    return parts


def watched(path: Path, seen: Seen) -> Iterator[tuple[float, Picture]]:
    """Yield the time and the picture of each frame, with frames drawn around what moves, and note it in ``seen``."""
    background = cv2.createBackgroundSubtractorMOG2(detectShadows=False)
    grain = np.ones((3, 3), np.uint8)
    for at, picture in pictures(path):
        mask = cv2.morphologyEx(background.apply(cv2.GaussianBlur(picture, (5, 5), 0)), cv2.MORPH_OPEN, grain)
        share = float(np.count_nonzero(mask)) / mask.size if at >= LEARNING_SECONDS else 0.0
        if share >= LEAST_SHARE:
            draw(picture, mask)
        seen.note(at, share, picture)
        yield at, picture


def draw(picture: Picture, mask: Picture) -> None:
    """Draw a frame around each area of ``mask`` that is large enough to count."""
    for outline in cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]:
        if cv2.contourArea(outline) >= LEAST_SHARE * mask.size / 2:
            left, top, width, height = cv2.boundingRect(outline)
            cv2.rectangle(picture, (left, top), (left + width, top + height), FRAME_COLOUR, 2)


def pictures(path: Path) -> Iterator[tuple[float, Picture]]:
    """Yield the time and the picture of each frame, no larger than 1,280 points. Raises :class:`ValueError`."""
    try:
        with av.open(str(path)) as container:
            for frame in container.decode(container.streams.video[0]) if container.streams.video else ():
                scale = min(1.0, MAX_SIDE / max(frame.width, frame.height))
                width, height = (max(2, int(side * scale) // 2 * 2) for side in (frame.width, frame.height))
                yield frame.time or 0.0, frame.reformat(width, height, "bgr24").to_ndarray()
    except av.FFmpegError as error:
        raise ValueError("This cannot be read as a video.") from error


def duration(path: Path) -> float | None:
    """Return the seconds that a file says it lasts, if it says so (a browser's recording often does not)."""
    try:
        with av.open(str(path)) as container:
            return container.duration / av.time_base if container.duration else None
    except av.FFmpegError as error:
        raise ValueError("This cannot be read as a video.") from error


if __name__ == "__main__":
    sys.exit(commandline.serve(answer, "Finds what moves in a video."))
