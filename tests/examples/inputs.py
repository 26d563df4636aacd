"""What the examples are given: speech by the synthesiser espeak-ng (from the package espeakng-loader), a moving box,
and written lines."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SPOKEN = "the president of the united states of america"
#: The voice and the speed (words a minute) that the English model understands best.
VOICE, SPEED = b"en-us+f5", 140
SYNCHRONOUS, RATE_PARAMETER, CHARS_UTF8 = 2, 1, 1

SIZE = (320, 240)
FRAMES_A_SECOND = 15
VIDEO_SECONDS = 6
MOVES_FROM, MOVES_TO = 2.0, 4.0


def speak(text: str) -> tuple[bytes, int]:
    """Return spoken text as 16-bit samples, and how many of them make a second."""
    import espeakng_loader

    library = ctypes.CDLL(espeakng_loader.get_library_path())
    spoken = bytearray()

    def hear(samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            spoken.extend(ctypes.string_at(samples, 2 * count))
        return 0

    heard = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)(hear)
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
    assert rate > 0, "espeak-ng did not start"
    library.espeak_SetSynthCallback(heard)
    assert library.espeak_SetVoiceByName(VOICE) == 0, "espeak-ng has no such voice"
    library.espeak_SetParameter(RATE_PARAMETER, SPEED, 0)
    words = text.encode()
    library.espeak_Synth(words, ctypes.c_size_t(len(words) + 1), 0, 0, 0, CHARS_UTF8, None, None)
    library.espeak_Synchronize()
    return bytes(spoken), int(rate)


def record_speech(path: Path, codec: str) -> Path:
    """Write a recording of :data:`SPOKEN` as a browser makes it, in the container that the name of ``path`` says."""
    import av
    import numpy as np

    samples, rate = speak(SPOKEN)
    frame = av.AudioFrame.from_ndarray(np.frombuffer(samples, np.int16)[np.newaxis], "s16", "mono")
    frame.sample_rate = rate
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=48_000)
        resampler = av.AudioResampler(format=stream.format.name, layout="mono", rate=48_000)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    return path


def record_motion(path: Path) -> Path:
    """Write a grey video in which a box moves from :data:`MOVES_FROM` to :data:`MOVES_TO`."""
    import av

    with av.open(str(path), "w") as out:
        stream = out.add_stream("libvpx", rate=FRAMES_A_SECOND)
        stream.width, stream.height = SIZE
        stream.pix_fmt, stream.bit_rate = "yuv420p", 800_000
        for picture in _moving_box():
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(stream.encode(None))
    return path


def _moving_box() -> Iterator[Any]:
    import numpy as np

    noise = np.random.default_rng(1)
    for number in range(FRAMES_A_SECOND * VIDEO_SECONDS):
        picture = noise.integers(118, 122, (SIZE[1], SIZE[0], 3)).astype(np.uint8)
        at = number / FRAMES_A_SECOND
        if MOVES_FROM <= at < MOVES_TO:
            left = int((at - MOVES_FROM) / (MOVES_TO - MOVES_FROM) * (SIZE[0] - 60))
            picture[100:140, left : left + 40] = (250, 250, 20)
        yield picture


def write_picture(path: Path, text: str) -> Path:
    """Draw ``text`` black on white."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (600, 160), "white")
    ImageDraw.Draw(picture).text((20, 40), text, font=ImageFont.load_default(size=40), fill="black")
    picture.save(path)
    return path
