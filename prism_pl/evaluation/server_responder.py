"""A model behind a ``vllm serve`` that is started for it here and ends with it.

It is asked as anybody asks a deployed model: by chat completions, so the server applies the model's own chat template and
image processor, and takes no sampling defaults of the model's ``generation_config.json``. What it read is checked by its
number of tokens, which must be that of the engines' prompt.
"""

import time
from pathlib import Path
from typing import Any

from prism_pl.data.conversation import PromptEncoder, PromptRow
from prism_pl.data.files import DataFile
from prism_pl.data.row_checks import Requirements, usable_rows
from prism_pl.endpoint import Answer, EndpointOptions
from prism_pl.engines.vllm_prompts import placeholder_bias
from prism_pl.errors import UserError
from prism_pl.evaluation.responders import ChatResponder
from prism_pl.evaluation.responses import Draw
from prism_pl.evaluation.subjects import Subject
from prism_pl.hub import policy_folder
from prism_pl.rewards import Reward
from prism_pl.vllm_server import ServerEndedError, ServerOptions, VLLMServer

_NO_LIMIT_S = 86400.0
"""Of one response: the server is here, so whether it still lives is seen otherwise."""
_GUARD_SECONDS = 5.0
_ARGUMENTS = (
    # The command says how to sample, and nothing else does. The model's end tokens count all the same.
    "--generation-config",
    "vllm",
)


class ServerResponder(ChatResponder):
    """``subject`` behind a server of its own, which starts when the first response is missing.

    Args:
        subject: the model.
        options: how the server computes.
        max_prompt_tokens: limit of a prompt, images included.
        max_new_tokens: the longest response that will be asked for.
        log: the file that the server's output is appended to.
    """

    max_image_bytes = None

    def __init__(
        self, subject: Subject, options: ServerOptions, max_prompt_tokens: int, max_new_tokens: int, log: Path
    ) -> None:
        super().__init__(subject.name)
        self.subject, self.options, self.log = subject, options, log
        self.encoder = PromptEncoder(subject.path, max_prompt_tokens)
        self._max_model_len = max_prompt_tokens + max_new_tokens
        self._server: VLLMServer | None = None

    def settings(self) -> dict[str, Any]:
        return {"model": self.subject.path, "trained": self.subject.identity, "server": "chat"}

    def rows(self, data: DataFile) -> list[int]:
        return usable_rows(data, self.encoder, Requirements(("answer",))).tolist()

    def answer(self, data: DataFile, rows: Any, draw: Draw, file: Path, reward: Reward) -> dict[int, str]:
        failures = super().answer(data, rows, draw, file, reward)
        if failures and self._server is not None and _has_ended(self._server):
            raise UserError(
                f"server: that of {self.name} ended amid its work, with {len(failures)} questions still open."
                f"{self._server.last_words()} All other responses are on disk: the same command goes on."
            )
        return failures

    def endpoint(self) -> EndpointOptions:
        folder = policy_folder(self.subject.path, "models")
        if self._server is None:
            arguments = ("--served-model-name", self.name, *_ARGUMENTS)
            self._server = VLLMServer(
                folder, self._max_model_len, self.options, self.log, f"that of {self.name}", arguments=arguments
            )
            try:
                self._server.start()
                self._server.wait()
            except ServerEndedError as error:
                raise UserError(f"server: {error}") from None
        return EndpointOptions(
            base_url=f"{self._server.url}/v1",
            model=self.name,
            concurrency=self.options.max_num_seqs,
            max_retries=1,
            timeout_s=_NO_LIMIT_S,
            extra={"logit_bias": placeholder_bias(folder)},
        )

    def check(self, row: PromptRow, answer: Answer) -> None:
        (expected,) = self.encoder.count_tokens([row])
        if answer.prompt_tokens != expected:
            raise UserError(
                f"server: {row.source}: {self.name} read {answer.prompt_tokens} tokens where an engine reads {expected}. "
                f"vLLM applies another chat template or image processor than transformers finds in the model's folder. "
                f"Evaluate it by an `engine`, or save the folder anew with this version of transformers."
            )

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None


def _has_ended(server: VLLMServer) -> bool:
    """Whether it has, or is about to: its guard sees an end a moment after those whose requests it cuts off."""
    end = time.monotonic() + _GUARD_SECONDS
    while server.is_running and time.monotonic() < end:
        time.sleep(0.1)
    return not server.is_running
