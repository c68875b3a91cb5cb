"""Lines for whoever reads the log of the job: how the executor fares, never what is asked or answered."""

import sys
import traceback


def say(text: str) -> None:
    """Writes one line to the log."""
    print(f"conclave-executor: {text}", file=sys.stderr, flush=True)


def fault(error: BaseException) -> str:
    """Where in the executor an error arose; its own words may quote what was asked or answered."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"
