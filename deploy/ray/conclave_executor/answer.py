"""Puts a `chat.completion` together from the chunks of a stream."""

from __future__ import annotations

from typing import Any

from . import codec

# How much of an error's text is kept, in bytes.
ERROR_BYTES_MAX = 64 * 1024


class MalformedChunk(Exception):
    """Bytes are no piece of a chat completion; says why, without quoting them."""


class ErrorChunk(Exception):
    """A piece says that the generation failed; `status` is what its code says, else 500, `text` the piece."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"an error with status {status} came in place of an answer")
        self.status = status
        self.text = text


class Choice:
    """What has arrived of one choice."""

    __slots__ = ("content", "counted", "finish_reason", "logprobs", "new_text", "new_tokens", "pieces", "reasoning")

    def __init__(self) -> None:
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.logprobs: list[Any] | None = None
        self.finish_reason: str | None = None
        # The tokens as the server counts them, where it does so for each choice.
        self.counted: int | None = None
        # Pieces with text: about a token each.
        self.pieces = 0
        # What no progress message has told yet.
        self.new_tokens = 0
        self.new_text: list[str] = []

    @property
    def tokens(self) -> int:
        return max(self.pieces, len(self.logprobs or ())) if self.counted is None else self.counted

    def take(self, piece: dict[str, Any]) -> None:
        delta = piece.get("delta") or piece.get("message") or {}
        content = delta.get("content") or ""
        # Servers that send both fields repeat themselves.
        reasoning = delta.get("reasoning") or delta.get("reasoning_content") or ""
        if not isinstance(content, str) or not isinstance(reasoning, str):
            raise TypeError("a text is expected")
        if content or reasoning:
            self.pieces += 1
            self.new_tokens += 1
        if content:
            self.content.append(content)
            self.new_text.append(content)
        if reasoning:
            self.reasoning.append(reasoning)
        logprobs = piece.get("logprobs")
        if logprobs and (content or not reasoning):
            entries = logprobs.get("content")
            if entries:
                if self.logprobs is None:
                    self.logprobs = []
                self.logprobs.extend(entries)
        reason = piece.get("finish_reason")
        if reason is not None:
            self.finish_reason = reason

    def completed(self, index: int) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self.content)}
        if self.reasoning:
            message["reasoning_content"] = "".join(self.reasoning)
        logprobs = None if self.logprobs is None else {"content": self.logprobs}
        # A server that says that this is all, and no reason: the model ended by itself.
        finish_reason = self.finish_reason or "stop"
        choice = {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish_reason}
        return {**choice, "tokens": self.tokens}


class Answer:
    """What has arrived of an answer, of which `choices` choices are expected."""

    __slots__ = ("_choices", "_expected", "_head", "_usage", "has_news")

    def __init__(self, choices: int) -> None:
        self._expected = choices
        self._choices: dict[int, Choice] = {}
        self._head: dict[str, Any] = {}
        self._usage: dict[str, Any] | None = None
        # Whether there is something that no progress message has told yet.
        self.has_news = False

    def take(self, data: bytes) -> None:
        """Takes one chunk, or a whole `chat.completion`; raises `MalformedChunk` or `ErrorChunk`."""
        try:
            chunk = codec.decode(data)
        except ValueError:
            raise MalformedChunk("its JSON is invalid") from None
        try:
            if chunk.get("error") is not None or chunk.get("object") == "error":
                raise ErrorChunk(_status(chunk), data[:ERROR_BYTES_MAX].decode(errors="replace"))
            pieces: list[Any] = chunk.get("choices") or []
            for piece in pieces:
                choice = self._choice(piece)
                choice.take(piece)
                self.has_news = self.has_news or choice.new_tokens > 0
            if usage := chunk.get("usage"):
                if self._expected > 1 and len(pieces) == 1 and "delta" in pieces[0]:
                    # With `continuous_usage_stats`, each piece has the usage of its own choice.
                    self._choice(pieces[0]).counted = int(usage["completion_tokens"])
                else:
                    self._usage = dict(usage)
            if not self._head:
                self._head = {key: chunk[key] for key in ("id", "created", "model") if key in chunk}
        except (AttributeError, KeyError, TypeError, ValueError):
            raise MalformedChunk("its JSON has not the form of a chat completion") from None

    def _choice(self, piece: dict[str, Any]) -> Choice:
        index = piece.get("index") or 0
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[int(index)] = Choice()
        return choice

    @property
    def tokens(self) -> int:
        """The tokens that were received, in all choices: as the server counts them, or as they were seen."""
        counted = (self._usage or {}).get("completion_tokens")
        return counted if isinstance(counted, int) else sum(choice.tokens for choice in self._choices.values())

    @property
    def is_empty(self) -> bool:
        return not self._choices

    @property
    def is_finished(self) -> bool:
        """Whether the model has ended all choices; only the usage may still come."""
        ended = sum(choice.finish_reason is not None for choice in self._choices.values())
        return ended >= self._expected

    def news(self) -> list[dict[str, Any]]:
        """What is new of each choice since the last call, as a progress message has it."""
        self.has_news = False
        news = []
        for index, choice in self._choices.items():
            if choice.new_tokens:
                news.append({"index": index, "tokens": choice.new_tokens, "text": "".join(choice.new_text)})
                choice.new_tokens = 0
                choice.new_text.clear()
        return news

    def completed(self) -> dict[str, Any]:
        """The `chat.completion`, with the choices in their order."""
        choices = [choice.completed(index) for index, choice in sorted(self._choices.items())]
        return {"object": "chat.completion", **self._head, "choices": choices, "usage": self._usage}


def _status(chunk: dict[str, Any]) -> int:
    error = chunk.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    if code is None:
        code = chunk.get("code")
    # An error without a code is the engine's failure: had it judged the request, there would be no stream.
    try:
        status = int(code) if isinstance(code, int | str) else 500
    except ValueError:
        status = 500
    return status if 400 <= status < 600 else 500
