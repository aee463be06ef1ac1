"""Who answers: an engine with one model's weights, or a model behind an endpoint. One behind a server that is started for
it is in ``server_responder.py``.

Another source of responses is another ``Responder``, or writes the lines of ``responses.py`` itself.
"""

import asyncio
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from prism_pl.curation.messages import MAX_IMAGE_BYTES, chat_messages
from prism_pl.data.conversation import PromptEncoder, PromptRow, check_marks
from prism_pl.data.files import DataFile
from prism_pl.data.row_checks import Requirements, usable_rows
from prism_pl.data.rows import check_needs
from prism_pl.endpoint import Answer, Endpoint, EndpointOptions, Workers
from prism_pl.engines import RolloutEngine
from prism_pl.engines.answer_file import answer_rows
from prism_pl.evaluation.responses import Draw, Reply, gradable, graded
from prism_pl.evaluation.subjects import Subject
from prism_pl.rewards import Reward
from prism_pl.runs.files import append_lines, read_lines
from prism_pl.seeds import derive_seed
from prism_pl.types import Rollouts, SamplingOptions


class Responder(ABC):
    """One model with its name in the tables."""

    name: str

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What its responses depend on, beside the set and the sampling."""

    @abstractmethod
    def rows(self, data: DataFile) -> list[int]:
        """The rows of a set. Raises UserError for one that cannot be asked about."""

    @abstractmethod
    def answer(self, data: DataFile, rows: Sequence[int], draw: Draw, file: Path, reward: Reward) -> dict[int, str]:
        """Appends a line for each row that ``file`` lacks; why others got none. A kill costs little."""

    def close(self) -> None:  # noqa: B027 (an endpoint elsewhere holds nothing)
        """Gives memory back, for the next model."""


class EngineResponder(Responder):
    """``engine`` with the weights of ``subject``, loaded when the first response is missing."""

    def __init__(self, subject: Subject, engine: RolloutEngine, max_prompt_tokens: int, longest: SamplingOptions) -> None:
        self.name = subject.name
        self.subject, self.engine, self.longest = subject, engine, longest
        self.encoder = PromptEncoder(subject.path, max_prompt_tokens)
        self._started = False

    def settings(self) -> dict[str, Any]:
        return {"model": self.subject.path, "trained": self.subject.identity, "server": None}

    def rows(self, data: DataFile) -> list[int]:
        return usable_rows(data, self.encoder, Requirements(("answer",))).tolist()

    def answer(self, data: DataFile, rows: Sequence[int], draw: Draw, file: Path, reward: Reward) -> dict[int, str]:
        todo = _missing(rows, file)
        if todo and not self._started:
            self._started = True
            self.engine.start(self.subject.path, self.encoder.max_prompt_tokens, self.longest)

        def record(rollouts: Rollouts) -> list[dict[str, Any]]:
            replies = [
                [Reply(one.text, len(one.token_ids), one.truncated) for one in group] for group in rollouts.responses
            ]
            return graded(rollouts.prompts, replies, reward)

        if todo:
            answer_rows(
                self.engine, data, self.encoder, todo, file, draw.sampling, record, *draw.seed_words, total=len(rows)
            )
        return {}

    def close(self) -> None:
        if self._started:
            self.engine.close()
            self._started = False


class ChatResponder(Responder):
    """A model that answers chat completions. A question is done when all its responses are there."""

    max_image_bytes: int | None = MAX_IMAGE_BYTES
    """Of one image in a request; larger ones are sent as JPEGs. None is no limit."""

    def __init__(self, name: str) -> None:
        self.name = name
        # The data file has one reader, and grading has processes of its own.
        self._aside = ThreadPoolExecutor(1)

    @abstractmethod
    def endpoint(self) -> EndpointOptions:
        """Where the model is; called when a response is missing."""

    def check(self, row: PromptRow, answer: Answer) -> None:
        """Raises UserError for an answer that is not the model's to this row."""

    def answer(self, data: DataFile, rows: Sequence[int], draw: Draw, file: Path, reward: Reward) -> dict[int, str]:
        todo, sampling = _missing(rows, file), draw.sampling
        if not todo:
            return {}
        own = self.endpoint()
        options = replace(
            own,
            temperature=sampling.temperature,
            max_tokens=sampling.max_new_tokens,
            extra={"top_p": sampling.top_p, **own.extra},
        )
        workers = Workers[int](options)
        with tqdm(total=len(rows), initial=len(rows) - len(todo), desc=file.stem, unit="prompt") as bar:

            async def ask(index: int, endpoint: Endpoint) -> None:
                row, messages = await self._beside(self._readable, data, index)
                first = derive_seed(*draw.seed_words, row.source)
                replies = []
                for number in range(sampling.group_size):
                    answer = await endpoint.ask(messages, first + number)
                    workers.answered()
                    self.check(row, answer)
                    replies.append(Reply(answer.text, answer.completion_tokens, answer.finish_reason == "length"))
                (line,) = await self._beside(graded, [gradable(row)], [replies], reward)
                append_lines(file, [json.dumps({"row": index, **line})], durable=True)
                bar.update()

            asyncio.run(workers.run(todo, ask))
        given_up = "not asked for, as the endpoint was given up"
        return {row: workers.failures.get(row, given_up) for row in _missing(rows, file)}

    def _readable(self, data: DataFile, index: int) -> tuple[PromptRow, list[dict[str, Any]]]:
        row = data.prompt_row(index)
        return row, chat_messages(row, self.max_image_bytes)

    async def _beside(self, call: Any, *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._aside, call, *arguments)


class EndpointResponder(ChatResponder):
    """A model behind an OpenAI-compatible endpoint."""

    def __init__(self, options: EndpointOptions) -> None:
        super().__init__(options.model)
        self.options = options
        options.read_key()  # a key that is missing is an error at the start

    def settings(self) -> dict[str, Any]:
        # Another address is no other model.
        return {"model": self.options.model, "extra": self.options.extra}

    def rows(self, data: DataFile) -> list[int]:
        for index in range(len(data)):
            row = data.prompt_row(index)
            check_needs(row, ("answer",))
            check_marks(row)
            for image in row.images:
                image.size()
        return list(range(len(data)))

    def endpoint(self) -> EndpointOptions:
        return self.options


def _missing(rows: Sequence[int], file: Path) -> list[int]:
    """Those that have no line yet."""
    done = {line["row"] for line in read_lines(file)}
    return [row for row in rows if row not in done]
