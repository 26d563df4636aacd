"""Small files to choose, and what a browser's file chooser takes."""

from __future__ import annotations

import io
import math
import struct
import wave
import zlib
from pathlib import Path

from playwright.sync_api import FilePayload

RATE = 8_000


def wav(seconds: int = 3) -> bytes:
    """Return a tone as a wav file."""
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        turn = 2 * math.pi * 440 / RATE
        sound.writeframes(b"".join(struct.pack("<h", int(8_000 * math.sin(n * turn))) for n in range(RATE * seconds)))
    return out.getvalue()


def png(red: int, size: int = 40) -> bytes:
    """Return a square of one colour as a png file."""
    row = b"\x00" + bytes((red, 90, 120)) * size
    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row * size)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


#: Three seconds of a test picture with a tone: VP8 and Vorbis, 96 x 64.
WEBM = (Path(__file__).parent / "clip.webm").read_bytes()

SPEECH = FilePayload(name="speech.wav", mimeType="audio/wav", buffer=wav())
CLIP = FilePayload(name="clip.webm", mimeType="video/webm", buffer=WEBM)
NOTES = FilePayload(name="notes.txt", mimeType="text/plain", buffer="Grüße\n".encode() * 40)
PICTURE = FilePayload(name="picture.png", mimeType="image/png", buffer=png(200))
