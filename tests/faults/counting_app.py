"""A small app on the package: writes down what it computes, one line a prompt; the very first takes its time.

python tests/faults/counting_app.py ADDRESS TOKEN SPACE FILE SECONDS
"""

import sys
import time
from pathlib import Path

from spaces_app import App

address, token, space, file, seconds = sys.argv[1:]
app = App(address, token)


@app.space(space)
def answer(prompt: str) -> str:
    """Note the prompt and answer with it."""
    is_first = not Path(file).exists()
    with Path(file).open("a") as lines:
        lines.write(f"{prompt}\n")
    if is_first:
        time.sleep(float(seconds))
    return prompt


sys.exit(0 if app.run().ok else 2)
