"""Why a plugin, or one of its generations, did not succeed."""

from __future__ import annotations

import os


class Error(Exception):
    """The sentence with which a plugin fails, for the client to read."""


class Failure(Exception):
    """Why a generation, or a call to the host, did not succeed."""


class GenerationCancelled(Failure):
    """This plugin cancelled the generation."""

    def __init__(self) -> None:
        super().__init__("the generation was cancelled")


class DeadlineExceeded(Failure):
    """The generation's own deadline passed."""

    def __init__(self) -> None:
        super().__init__("the generation's deadline passed")


class BudgetExhausted(Failure):
    """A limit of the deliberation is used up; ``limit`` names it."""

    def __init__(self, limit: str) -> None:
        super().__init__(f"a limit is used up: {limit}")
        self.limit = limit


class Rejected(Failure):
    """The request can never succeed; ``reason`` says why. Do not send it again."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"rejected: {reason}")
        self.reason = reason


class Unavailable(Failure):
    """No model server could answer, after the retries that the deliberation allows."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"no model server could answer: {reason}")
        self.reason = reason


def sentence(error: BaseException) -> str:
    """What a client is told of an exception that left a plugin.

    The plugin's own sentences, and failures, stand as they are. Any other exception is a mistake in the
    plugin: its type and place are told too.
    """
    if isinstance(error, BaseExceptionGroup):
        return sentence(error.exceptions[0])
    if isinstance(error, (Error, Failure)):
        return str(error)
    words = f"{type(error).__name__}: {error}".removesuffix(": ")
    place = _place(error)
    return f"{words} ({place})" if place else words


def _place(error: BaseException) -> str | None:
    """File and line of the innermost frame that is the plugin's own."""
    own = os.path.dirname(__file__)
    place = None
    step = error.__traceback__
    while step is not None:
        file = step.tb_frame.f_code.co_filename
        if not file.startswith(own) and "asyncio" not in file:
            place = f"{os.path.basename(file)}:{step.tb_lineno}"
        step = step.tb_next
    return place
