"""The parts of ``test_websockets.py``: a browser, real apps, the scenarios, and the report of a run."""
