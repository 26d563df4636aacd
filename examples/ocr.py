"""Images in, text out: what stands in one or several pictures, line by line.

    python examples/ocr.py --host http://localhost:5001 --spaces Ocr

The models are those of RapidOCR (PaddleOCR's, for ONNX Runtime: Latin and Chinese script); they ship in its package.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from rapidocr_onnxruntime import RapidOCR

from spaces_app import InputFile, Request, commandline

MAX_SIDE = 4_000
MAX_PART_NAME = 100


@cache
def model() -> RapidOCR:
    """Load the models, once."""
    return RapidOCR()


def answer(request: Request) -> list[dict[str, Any]]:
    """Read all pictures. Raises :class:`ValueError` when there is none, or none can be read as a picture."""
    files = [file for file in request.files if file.field == "file"]
    if not files:
        raise ValueError("This space needs a picture, or several.")
    read: list[dict[str, Any]] = []
    for number, file in enumerate(files):
        if request.cancelled.is_set():
            break
        request.progress(number / len(files), f"picture {number + 1} of {len(files)}")
        read.append(read_file(file))
    if all("error" in one for one in read):
        raise ValueError("This cannot be read as a picture." if len(read) == 1 else "None can be read as a picture.")
    texts = [{"type": "text", "text": text_of(one), "name": one["name"][:MAX_PART_NAME]} for one in read]
    return [*texts, {"type": "json", "data": {"pictures": read}}]


def read_file(file: InputFile) -> dict[str, Any]:
    """Return a picture's name and lines, each with its place and the model's confidence, or what is wrong with it."""
    try:
        pixels = picture(file)
    except (OSError, ValueError, Image.DecompressionBombError):
        return {"name": file.name, "error": "cannot be read as a picture"}
    found, _seconds = model()(pixels)
    return {"name": file.name, "lines": [line(*one) for one in found or ()]}


def line(corners: list[list[float]], text: str, confidence: float) -> dict[str, Any]:
    """Return a line as plain data."""
    return {"text": text, "confidence": round(float(confidence), 3), "corners": np.round(corners).astype(int).tolist()}


def picture(file: InputFile) -> NDArray[np.uint8]:
    """Return a file's pixels, upright and on white, as the model wants them: blue, green, red."""
    with Image.open(file.path) as opened:
        upright = ImageOps.exif_transpose(opened)
        upright.thumbnail((MAX_SIDE, MAX_SIDE))
        seen = upright.convert("RGBA")
    on_white = Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    return np.ascontiguousarray(np.asarray(on_white.convert("RGB"))[:, :, ::-1])


def text_of(one: dict[str, Any]) -> str:
    """Return what a person wants to see of a picture."""
    if "error" in one:
        return f"{one['name']} {one['error']}."
    return "\n".join(" ".join(found["text"] for found in row) for row in rows(one["lines"])) or "(no text was found)"


def rows(lines: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Put what stands side by side into one row, from left to right."""
    made: list[list[dict[str, Any]]] = []
    for found in sorted(lines, key=middle):
        height = found["corners"][2][1] - found["corners"][0][1]
        if made and middle(found) - middle(made[-1][0]) < height / 2:
            made[-1].append(found)
        else:
            made.append([found])
    return [sorted(row, key=lambda found: int(found["corners"][0][0])) for row in made]


def middle(found: dict[str, Any]) -> float:
    """Return how far down the middle of a line is."""
    return float(np.mean([down for _across, down in found["corners"]]))


if __name__ == "__main__":
    model()
    sys.exit(commandline.serve(answer, "Reads the text in pictures."))
