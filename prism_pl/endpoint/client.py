"""The client: paced, retried requests to one endpoint, and what its failures mean.

200 with a chat completion    an answer, whatever it says
408, 409, 429, 5xx, no or a cut connection, a timeout, 200 with anything else    asked again; at last ``NoAnswer``
401, 402, 404, 405, a redirection    a mistake in the configuration: ``UserError`` at once
another status    this request is refused: ``NoAnswer`` at once
"""

import asyncio
import email.utils
import logging
import time
from types import TracebackType
from typing import Any

import httpx2
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from prism_pl.endpoint.answers import Answer, parse_answer
from prism_pl.endpoint.options import EndpointOptions
from prism_pl.endpoint.pace import Pace
from prism_pl.errors import UserError

_log = logging.getLogger(__name__)
_AGAIN = {408, 409, 429}
_MISTAKES = {401, 402, 404, 405}
_LONGEST_WAIT_S = 60.0
_LONGEST_HOLD_S = 600.0
_EXCERPT = 300
_SHORTEST_SECRET = 8
"""A key that is shorter, such as ``EMPTY``, is none; taking it out would mutilate texts."""


class NoAnswer(Exception):  # noqa: N818 (it is what the caller gets instead of an answer)
    """The endpoint did not answer this request; it may answer it another day."""


class _Fault(NoAnswer):
    """Worth another request."""


class Endpoint:
    """An asynchronous context manager. The key is in its client's header and in no text that leaves it."""

    def __init__(self, options: EndpointOptions) -> None:
        self.options = options
        self.num_requests = 0
        """Requests sent, repeated ones included."""
        key = options.read_key()
        # As it is, and as it may stand in JSON.
        self._spellings = (key, key.replace("/", "\\/")) if key and len(key) >= _SHORTEST_SECRET else ()
        if key and not options.is_local and options.base_url.startswith("http:"):
            _log.warning("endpoint.base_url: the key goes to %s without encryption.", options.base_url)
        self._pace = Pace(options.requests_per_minute)
        self._client = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            limits=httpx2.Limits(max_connections=options.concurrency),
            # One limit over the whole exchange instead, below: an endpoint that drips would never end otherwise.
            timeout=None,
            # The environment's proxies are for endpoints elsewhere.
            trust_env=not options.is_local,
        )

    async def __aenter__(self) -> "Endpoint":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.aclose()

    async def ask(self, messages: list[dict[str, Any]], seed: int) -> Answer:
        """One response. Raises NoAnswer if there is none after all retries, UserError for a mistake in the options."""
        first = self.options.first_wait_s
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_Fault),
            stop=stop_after_attempt(self.options.max_retries + 1),
            wait=wait_exponential_jitter(initial=first, jitter=first, max=_LONGEST_WAIT_S),
            reraise=True,
        )
        return await retrying(self._once, request_body(self.options, messages, seed))

    async def _once(self, body: dict[str, Any]) -> Answer:
        await self._pace.wait()
        self.num_requests += 1
        try:
            async with asyncio.timeout(self.options.timeout_s):
                response = await self._client.post(f"{self.options.base_url.rstrip('/')}/chat/completions", json=body)
        except TimeoutError:
            raise _Fault(f"no answer within {self.options.timeout_s:g} s") from None
        except (httpx2.HTTPError, OSError) as error:
            raise _Fault(self._clean(f"{type(error).__name__}: {error}")) from None
        if response.status_code != 200:
            raise self._failure(response)
        try:
            answer = parse_answer(response.content)
        except ValueError as error:
            raise _Fault(f"200 with {error}: {self._excerpt(response)}") from None
        reason = answer.finish_reason
        return Answer(
            text=self._clean(answer.text),
            finish_reason=None if reason is None else self._clean(reason),
            prompt_tokens=answer.prompt_tokens,
            completion_tokens=answer.completion_tokens,
        )

    def _failure(self, response: httpx2.Response) -> Exception:
        status, options = response.status_code, self.options
        said = f"{status}: {self._excerpt(response)}"
        if status in _MISTAKES or response.is_redirect:
            return UserError(
                f"endpoint: {options.base_url} answers the model {options.model!r} with {said} Check endpoint.base_url, "
                f"endpoint.model and the key in the environment variable {options.api_key_env}."
            )
        if status not in _AGAIN and status < 500:
            return NoAnswer(f"refused with {said}")
        pause = retry_after(response.headers.get("Retry-After"), time.time())
        if pause > _LONGEST_HOLD_S:
            return NoAnswer(f"{said} It asks to wait {pause:,.0f} s.")
        self._pace.hold(pause)
        return _Fault(said)

    def _excerpt(self, response: httpx2.Response) -> str:
        # The key is taken out first: a cut through it would leave the rest of it.
        return " ".join(self._clean(response.content.decode(errors="replace")).split())[:_EXCERPT]

    def _clean(self, text: str) -> str:
        """Without the key, which some endpoints echo, and without halves of characters, which no file can hold."""
        for spelling in self._spellings:
            text = text.replace(spelling, "[key]")
        return text.encode(errors="replace").decode()


def request_body(options: EndpointOptions, messages: list[dict[str, Any]], seed: int) -> dict[str, Any]:
    """The body of ``/chat/completions``; ``options.extra`` has the last word."""
    own = {
        "model": options.model,
        "messages": messages,
        "temperature": options.temperature,
        "max_tokens": options.max_tokens,
        "seed": seed,
    }
    return {key: value for key, value in (own | options.extra).items() if value is not None}


def retry_after(header: str | None, now: float) -> float:
    """Seconds of a ``Retry-After`` header, a number or a date; 0 if there is none or it is nonsense.

    >>> retry_after("1.5", 0), retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 50), retry_after("soon", 0)
    (1.5, 10.0, 0.0)
    """
    if header is None:
        return 0.0
    try:
        pause = float(header)
    except ValueError:
        try:
            pause = email.utils.parsedate_to_datetime(header).timestamp() - now
        except ValueError:
            return 0.0
    return pause if 0 < pause < float("inf") else 0.0
