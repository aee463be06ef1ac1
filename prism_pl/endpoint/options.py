"""Where a model is and how it is asked. The key is in the environment and nowhere else."""

import ipaddress
import os
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx2

from prism_pl.errors import UserError
from prism_pl.ranges import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

_ENVIRONMENT_NAME = re.compile(r"[A-Z_][A-Z0-9_]*")
_MILLION = 1_000_000


@dataclass(frozen=True, kw_only=True)
class EndpointOptions:
    """An OpenAI-compatible endpoint: a provider, or a server of your own such as ``vllm serve``."""

    base_url: str
    """Up to the part before ``/chat/completions``, such as ``http://localhost:8000/v1``."""
    model: str
    """The model, as the endpoint calls it."""
    api_key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key; it may be unset for an endpoint on this machine."""
    concurrency: PositiveInt = 8
    """Requests in flight at a time."""
    requests_per_minute: PositiveFloat | None = None
    """Limit over all requests, repeated ones included; null is none."""
    max_retries: NonNegativeInt = 6
    """Repetitions of a request after 429, 5xx, a cut connection, a timeout or a body that is no chat completion."""
    first_wait_s: PositiveFloat = 1.0
    """Seconds before the first repetition; they double, with jitter, up to a minute. ``Retry-After`` holds all requests."""
    timeout_s: PositiveFloat = 300.0
    """Seconds for one whole response."""
    temperature: NonNegativeFloat = 1.0
    """Softmax temperature."""
    max_tokens: PositiveInt = 4096
    """Length limit of a response."""
    price_per_million_input_tokens: NonNegativeFloat | None = None
    """In any currency; null is unknown."""
    price_per_million_output_tokens: NonNegativeFloat | None = None
    """Both prices or none."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Further fields of the request, such as ``{max_completion_tokens: 4096, max_tokens: null}``; null takes one out."""

    def __post_init__(self) -> None:
        _check_address(self.base_url)
        if not _ENVIRONMENT_NAME.fullmatch(self.api_key_env):
            raise UserError(
                "endpoint.api_key_env: the name of an environment variable is needed, in capitals. What it holds is not "
                "shown here, as it may be the key itself; that belongs in the environment alone."
            )
        for name, least in (("concurrency", 1), ("max_retries", 0), ("max_tokens", 1)):
            if getattr(self, name) < least:
                raise UserError(f"endpoint.{name}: at least {least} is needed, it is {getattr(self, name)}.")
        for name in ("requests_per_minute", "first_wait_s", "timeout_s"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise UserError(f"endpoint.{name}: a positive number is needed, it is {getattr(self, name)}.")
        if (self.price_per_million_input_tokens is None) != (self.price_per_million_output_tokens is None):
            raise UserError("endpoint.price_per_million_input_tokens and _output_tokens: give both, or neither.")

    @property
    def is_local(self) -> bool:
        """True if the endpoint is on this machine."""
        host = urlsplit(self.base_url).hostname or ""
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float | None:
        """In the currency of the prices; None if they are unknown."""
        if self.price_per_million_input_tokens is None or self.price_per_million_output_tokens is None:
            return None
        paid = (
            self.price_per_million_input_tokens * prompt_tokens + self.price_per_million_output_tokens * completion_tokens
        )
        return paid / _MILLION

    def read_key(self) -> str | None:
        """The key from the environment; None for an endpoint on this machine that needs none."""
        name, key = self.api_key_env, os.environ.get(self.api_key_env, "").strip()
        if not key and not self.is_local:
            raise UserError(
                f"endpoint.api_key_env: the environment variable {name} is not set, and {self.base_url} is not on this "
                f"machine. Set it with `export {name}=...`; a key belongs in no configuration."
            )
        if not key.isascii() or not key.isprintable() or " " in key:
            raise UserError(f"endpoint.api_key_env: {name} holds a blank or a character that no key has. Set it anew.")
        return key or None


def _check_address(url: str) -> None:
    try:
        parts = urlsplit(url)
        httpx2.URL(url)
        well_formed = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except (ValueError, httpx2.InvalidURL):
        well_formed = False
    if not well_formed or "@" in url or " " in url or parts.query or parts.fragment:
        # The address is not repeated: it may hold a password.
        raise UserError(
            "endpoint.base_url: http(s)://host:port/path is needed, without a user, a password, a query or blanks. "
            "A key belongs in the environment variable that `endpoint.api_key_env` names."
        )
