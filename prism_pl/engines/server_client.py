"""One vLLM server over HTTP: what it is asked about a prompt, and what is an answer."""

import base64
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx2
import torch
from PIL import Image
from pydantic import BaseModel, Field, ValidationError

from prism_pl.engines.vllm_prompts import check_read
from prism_pl.errors import UserError
from prism_pl.types import Prompt, SamplingOptions

_CONTROL_SECONDS = 60.0
"""For a request that computes nothing."""
_EXCERPT = 300


class ServerLostError(RuntimeError):
    """The server is of no use any more. The message is a sentence about it without its name."""


@dataclass(frozen=True)
class Question:
    """A prompt with a seed, and how its group is sampled."""

    prompt: Prompt
    body: Mapping[str, Any]
    """Of the request."""
    group_size: int


@dataclass(frozen=True)
class Tokens:
    """A response before it is decoded."""

    ids: tuple[int, ...]
    logp: tuple[float, ...]
    """Log-probability of each id."""
    truncated: bool
    label: str
    """Of the oldest weights that sampled it."""


class _ModelConfig(BaseModel):
    dtype: str
    max_model_len: int
    logprobs_mode: str


class _SchedulerConfig(BaseModel):
    max_num_seqs: int


class _TransferConfig(BaseModel):
    backend: str


class Facts(BaseModel):
    """How a server was started."""

    model: _ModelConfig = Field(alias="model_config")
    scheduler_config: _SchedulerConfig
    weight_transfer_config: _TransferConfig | None

    @property
    def precision(self) -> torch.dtype:
        return getattr(torch, self.model.dtype.removeprefix("torch."))

    def check(self, name: str, max_model_len: int, group_size: int, transfer: str) -> None:
        """Raises UserError for a server that was started in another way than is needed."""
        model, most = self.model, self.scheduler_config.max_num_seqs
        backend = self.weight_transfer_config.backend if self.weight_transfer_config else "none"
        for option, wrong, has in (
            ("--logprobs-mode processed_logprobs", model.logprobs_mode != "processed_logprobs", model.logprobs_mode),
            (f"--max-model-len {max_model_len}", model.max_model_len < max_model_len, model.max_model_len),
            (f"--max-num-seqs {group_size}", most < group_size, most),
            (f'--weight-transfer-config \'{{"backend": "{transfer}"}}\'', backend != transfer, backend),
        ):
            if wrong:
                raise UserError(
                    f"{name} must be started with {option}, and has {has}. docs/scaling.md has the whole command."
                )


class _Token(BaseModel):
    token_id: int
    logprob: float


class _Logprobs(BaseModel):
    content: list[_Token]


class _Span(BaseModel):
    version: str


class _Choice(BaseModel):
    index: int
    finish_reason: str
    token_ids: list[int]
    logprobs: _Logprobs
    weight_versions: list[_Span]


class _Reply(BaseModel):
    prompt_token_ids: list[int]
    choices: list[_Choice]


def question(prompt: Prompt, seed: int, sampling: SamplingOptions, bias: Mapping[int, float]) -> Question:
    """What vLLM 0.32's ``/inference/v1/generate`` is asked: tokens in, tokens out. It is what ``VLLMEngine`` asks for."""
    images = [{"type": "image_url", "url": _data_url(image)} for image in prompt.images]
    body = {
        "token_ids": list(prompt.engine_ids),
        **({"content_parts": images} if images else {}),
        "return_token_ids": True,
        "sampling_params": {
            "n": sampling.group_size,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_new_tokens,
            "seed": seed,
            "logprobs": 0,
            "detokenize": False,
            "logit_bias": bias,
        },
    }
    return Question(prompt, body, sampling.group_size)


class ServerClient:
    """An asynchronous client of the server at ``url``.

    Args:
        name: in messages.
        url: up to the port, without a slash at the end.
        time_limit: seconds for an answer, or for a step of a transfer of weights.
    """

    def __init__(self, name: str, url: str, time_limit: float) -> None:
        self.name, self.url = name, url
        self._client = httpx2.AsyncClient(
            base_url=url,
            timeout=httpx2.Timeout(time_limit, connect=_CONTROL_SECONDS),
            # A connection a request: vLLM closes idle ones after five seconds, and one that it is about to close would look
            # like a server that is lost.
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
            # The environment's proxies are for what is outside of the cluster.
            trust_env=False,
        )
        self._time_limit = time_limit

    async def answer(self, question: Question, labels: Callable[[], Sequence[str]]) -> list[Tokens]:
        """The responses. ``labels`` are those of the weights that may have sampled them, oldest first, once they are there.
        Raises ServerLostError, or UserError for what no server would answer."""
        content = await self.post("/inference/v1/generate", question.body)
        try:
            reply = _Reply.model_validate_json(content)
        except ValidationError as error:
            raise ServerLostError(f"has given what is no answer ({_first(error)}).") from None
        prompt = question.prompt
        check_read(prompt, reply.prompt_token_ids, self.url)
        choices = sorted(reply.choices, key=lambda choice: choice.index)
        if [choice.index for choice in choices] != list(range(question.group_size)):
            raise ServerLostError(f"has given {len(choices)} responses for {question.group_size}.")
        return [_tokens(choice, labels()) for choice in choices]

    async def facts(self) -> Facts:
        """Raises ServerLostError, or UserError."""
        content = await self._request("GET", "/server_info", params={"config_format": "json"})
        try:
            return Facts.model_validate(json.loads(content)["vllm_config"])
        except (ValueError, KeyError, TypeError) as error:
            raise ServerLostError(f"does not say how it was started ({type(error).__name__}).") from None

    async def num_workers(self) -> int:
        """Processes that take weights."""
        content = await self._request("GET", "/get_world_size", timeout=_CONTROL_SECONDS)
        try:
            return int(json.loads(content)["world_size"])
        except (ValueError, KeyError, TypeError):
            raise ServerLostError(f"has answered /get_world_size with {_excerpt(content)!r}.") from None

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> bytes:
        """What it answers. Raises ServerLostError if it does not, UserError for what it will not do."""
        return await self._request("POST", path, json=body)

    async def close(self) -> None:
        await self._client.aclose()

    async def _request(self, method: str, path: str, **options: Any) -> bytes:
        try:
            response = await self._client.request(method, path, **options)
        except httpx2.TimeoutException:
            raise ServerLostError(f"has not answered within {self._time_limit:g} seconds.") from None
        except httpx2.HTTPError as error:
            said = ": ".join(part for part in (type(error).__name__, str(error)) if part)
            raise ServerLostError(f"cannot be reached ({said}).") from None
        if response.status_code == 200:
            return response.content
        said = f"{response.status_code}: {_excerpt(response.content)}"
        if 400 <= response.status_code < 500:
            if response.status_code == 404:
                said += " Was it started with VLLM_SERVER_DEV_MODE=1? docs/scaling.md has the whole command."
            raise UserError(f"{self.name} refuses {path} with {said}")
        raise ServerLostError(f"has answered {path} with {said}")


def _tokens(choice: _Choice, labels: Sequence[str]) -> Tokens:
    """Raises ServerLostError for a response that is none, or that other weights have sampled."""
    if choice.finish_reason not in ("stop", "length"):
        raise ServerLostError(f"has given up a response (finish: {choice.finish_reason}).")
    versions = {span.version for span in choice.weight_versions}
    others = versions - set(labels)
    if others or not versions:
        known = " or ".join(labels)
        raise ServerLostError(f"has sampled with weights {', '.join(sorted(others)) or 'of no name'}, not with {known}.")
    content = choice.logprobs.content
    if not choice.token_ids or [token.token_id for token in content] != choice.token_ids:
        raise ServerLostError(
            f"has given a response that is none: {len(choice.token_ids)} tokens and {len(content)} log-probabilities, or "
            f"those of other tokens."
        )
    logp = tuple(token.logprob for token in content)
    return Tokens(tuple(choice.token_ids), logp, choice.finish_reason == "length", min(versions, key=labels.index))


def address(url: str) -> str:
    """Without a slash at its end. Raises UserError."""
    try:
        parts = urlsplit(url)
        well_formed = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port is not None
    except ValueError:
        well_formed = False
    if not well_formed or parts.path.strip("/") or parts.query or parts.username:
        raise UserError(
            f"VLLMServerEngine.urls: http://host:port is needed, without a path or anything else behind it. It is {url!r}."
        )
    return url.rstrip("/")


def _data_url(image: Image.Image) -> str:
    """Without loss."""
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _first(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}".removeprefix(": ")


def _excerpt(content: bytes) -> str:
    return " ".join(content.decode(errors="replace").split())[:_EXCERPT]
