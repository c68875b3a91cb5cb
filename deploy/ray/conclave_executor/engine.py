"""One call to a model server with the interface of OpenAI: send, read, and say what went wrong."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache

import aiohttp

from . import codec
from .addresses import FilteringResolver
from .answer import ERROR_BYTES_MAX, Answer, ErrorChunk, MalformedChunk
from .sse import Events
from .watch import Watch
from .work import Answered, Failed, Outcome, Refused, Work

# Shorter than the 5 seconds after which vLLM's server closes an idle connection.
_KEEP_ALIVE_SECONDS = 4.0
# How long a refusal's text is waited for: the status alone says enough.
_REFUSAL_SECONDS_MAX = 1.0
_REFUSAL_HEADERS = ("retry-after", "retry-after-ms", "location")
# How long the end of a body may take after the end of the answer: a connection whose body was not read to its end
# cannot be used again.
_TRAILER_SECONDS = 0.1
_ENDPOINTS_MAX = 1024

# Called after bytes in which there was something new for those who watch.
OnNews = Callable[[], Awaitable[None]]


class Engine:
    """Calls model servers. Cancelling a call closes its connection, which aborts the generation in the engine."""

    def __init__(self, api_keys: Mapping[str, str]) -> None:
        """To be made in the event loop that uses it; the key of an origin is sent there and nowhere else."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0, keepalive_timeout=_KEEP_ALIVE_SECONDS, ttl_dns_cache=30, resolver=FilteringResolver()
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_read=None),
            headers={"user-agent": "conclave-executor", "content-type": "application/json"},
            # Answers are small, and an encoder would hold tokens back.
            skip_auto_headers=("accept-encoding",),
        )
        self._api_keys = api_keys
        # When a connection to an endpoint was last put back for its next request.
        self._kept_at: dict[str, float] = {}
        self._trailers: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Closes all connections."""
        await self._session.close()

    async def generate(self, work: Work, answer: Answer, watch: Watch, on_news: OnNews) -> Outcome:
        """Makes the call, and puts what comes into `answer`."""
        try:
            response = await self._send(work, codec.encode(work.body))
        except (aiohttp.ClientResponseError, ValueError) as error:
            return Failed("protocol", f"it does not speak HTTP, or the request cannot be written: {_named(error)}")
        except (aiohttp.ClientError, OSError) as error:
            return Failed("unavailable", _named(error))
        outcome: Outcome | None = None
        try:
            outcome = await self._read(work, response, answer, watch, on_news)
            return outcome
        finally:
            if response.content.at_eof():
                response.release()
                self._kept(work)
            elif isinstance(outcome, Answered):
                trailer = asyncio.ensure_future(self._read_trailer(work, response))
                self._trailers.add(trailer)
                trailer.add_done_callback(self._trailers.discard)
            else:
                response.close()

    async def _read(
        self, work: Work, response: aiohttp.ClientResponse, answer: Answer, watch: Watch, on_news: OnNews
    ) -> Outcome:
        try:
            if not 200 <= response.status < 300:
                return await self._refused(work, response, watch)
            if "json" in response.headers.get("content-type", ""):
                return await self._read_whole(work, response, answer, watch, on_news)
            return await self._read_stream(work, response, answer, watch, on_news)
        except ErrorChunk as error:
            return Refused(error.status, {}, self._without_key(work, error.text))
        except MalformedChunk as error:
            return Failed("protocol", str(error))
        except (aiohttp.ClientError, OSError) as error:
            # The model had ended: only the usage, which can be counted, is lost.
            if answer.is_finished:
                return Answered(answer.completed())
            return Failed("interrupted", _named(error))

    async def _send(self, work: Work, body: bytes) -> aiohttp.ClientResponse:
        """Sends the request and waits for the head of the answer.

        A server may close an idle connection at the very moment in which a request is sent on it: only then it is
        sent a second time.
        """
        kept_at = self._kept_at.get(work.endpoint)
        may_be_stale = kept_at is not None and self._now() - kept_at <= _KEEP_ALIVE_SECONDS
        try:
            return await self._post(work, body)
        except aiohttp.ClientConnectorError:
            raise
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if not may_be_stale:
                raise
            return await self._post(work, body)

    async def _post(self, work: Work, body: bytes) -> aiohttp.ClientResponse:
        key = self._api_keys.get(_origin(work))
        authorization = {} if key is None else {"authorization": f"Bearer {key}"}
        return await self._session.post(
            f"{work.endpoint}/v1/chat/completions",
            data=body,
            headers={**work.headers, **authorization},
            timeout=_timeout(work.connect_timeout_ms),
            allow_redirects=False,
        )

    async def _read_stream(
        self, work: Work, response: aiohttp.ClientResponse, answer: Answer, watch: Watch, on_news: OnNews
    ) -> Outcome:
        """Reads a stream of events until the server says that it is done, or closes."""
        events = Events()
        received = 0
        any_event = False
        while data := await response.content.readany():
            if received == 0:
                watch.heard_first()
            else:
                watch.heard()
            received += len(data)
            if received > work.answer_bytes_max:
                return _too_large(work)
            for event in events.feed(data):
                any_event = True
                if event == b"[DONE]" or event.strip() == b"[DONE]":
                    if answer.is_empty:
                        return Failed("protocol", "it has no choices")
                    return Answered(answer.completed())
                if not event.isspace() and event:
                    answer.take(event)
            if answer.has_news:
                await on_news()
                if watch.reason is not None:
                    # The NATS client may swallow the cancellation of a publish.
                    raise asyncio.CancelledError
        if not any_event and received > 0:
            return Failed("protocol", "it is neither events nor JSON")
        if answer.is_finished:
            return Answered(answer.completed())
        return Failed("interrupted", "the stream ended before the answer did")

    async def _read_whole(
        self, work: Work, response: aiohttp.ClientResponse, answer: Answer, watch: Watch, on_news: OnNews
    ) -> Outcome:
        """Reads the answer of a server that does not stream."""
        body = bytearray()
        while data := await response.content.readany():
            if body:
                watch.heard()
            else:
                watch.heard_first()
            body += data
            if len(body) > work.answer_bytes_max:
                return _too_large(work)
        answer.take(bytes(body))
        if answer.is_empty:
            return Failed("protocol", "it has no choices")
        if answer.has_news:
            await on_news()
        return Answered(answer.completed())

    async def _refused(self, work: Work, response: aiohttp.ClientResponse, watch: Watch) -> Outcome:
        """What an answer with another status than success says."""
        watch.heard_first()
        body = bytearray()

        async def read() -> None:
            while len(body) < ERROR_BYTES_MAX and (data := await response.content.readany()):
                body.extend(data)

        seconds = min(_REFUSAL_SECONDS_MAX, work.idle_timeout_ms / 2000)
        with contextlib.suppress(aiohttp.ClientError, OSError, asyncio.TimeoutError):
            await asyncio.wait_for(read(), seconds)
        headers = {name: response.headers[name] for name in _REFUSAL_HEADERS if name in response.headers}
        text = bytes(body[:ERROR_BYTES_MAX]).decode(errors="replace")
        return Refused(response.status, headers, self._without_key(work, text))

    async def _read_trailer(self, work: Work, response: aiohttp.ClientResponse) -> None:
        """Reads the end of a body whose answer has ended, and keeps the connection if it comes at once."""

        async def read() -> None:
            while await response.content.readany():
                pass

        try:
            await asyncio.wait_for(read(), _TRAILER_SECONDS)
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError):
            pass
        finally:
            # Does nothing to a connection that was read to its end and is back in the pool.
            response.close()
        if response.content.at_eof():
            self._kept(work)

    def _without_key(self, work: Work, text: str) -> str:
        """A server may quote the key that it refuses; the text goes to clients."""
        key = self._api_keys.get(_origin(work))
        return text if key is None else text.replace(key, "[API key]")

    def _kept(self, work: Work) -> None:
        if len(self._kept_at) >= _ENDPOINTS_MAX:
            self._kept_at.clear()
        self._kept_at[work.endpoint] = self._now()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


@lru_cache(maxsize=64)
def _timeout(connect_ms: int) -> aiohttp.ClientTimeout:
    # The silence and the deadline are the watch's.
    return aiohttp.ClientTimeout(total=None, connect=connect_ms / 1000, sock_read=None)


def _origin(work: Work) -> str:
    """Scheme, host and port, as the host has written them: by the URL standard, as those of the keys."""
    return "/".join(work.endpoint.split("/", 3)[:3])


def _too_large(work: Work) -> Failed:
    return Failed("protocol", f"it is larger than the {work.answer_bytes_max} bytes of `answer_bytes_max`")


def _named(error: BaseException) -> str:
    """An error in words: those of aiohttp are sometimes only in the type."""
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
