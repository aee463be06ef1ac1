"""A reward from a file of your own: ``function: rewards/mine.py:compute_score``, as in EasyR1.

The function gets a list of dictionaries with the keys ``response``, ``response_length`` (characters), ``ground_truth`` (a
list, if a row has several), ``options``, ``question`` and ``source``, and returns one number, or one dictionary with the
key ``overall``, for each.
"""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from prism_pl.errors import UserError
from prism_pl.rewards.base import Reward
from prism_pl.types import Prompt


@dataclass(frozen=True, kw_only=True)
class PythonReward(Reward):
    """Calls a Python function once a batch. The file is code that runs in the trainer: use only what you trust."""

    function: str
    """``path.py:name``."""
    weight: float = 1.0
    """Share of the total reward."""
    name: str = "python"
    """Key in the logs."""

    def __post_init__(self) -> None:
        self._call  # noqa: B018 (a mistake in the path is an error at start)

    @cached_property
    def _call(self) -> Callable[[list[dict[str, Any]]], Sequence[Any]]:
        path, colon, name = self.function.rpartition(":")
        if not colon or not Path(path).is_file():
            raise UserError(f"PythonReward.function: {self.function!r} is not `path.py:name` of a file that exists.")
        spec = importlib.util.spec_from_file_location(Path(path).stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            raise UserError(f"PythonReward.function: {path} fails when imported: {error!r}") from error
        if not callable(getattr(module, name, None)):
            raise UserError(f"PythonReward.function: {path} has no function {name!r}.")
        return getattr(module, name)

    def __call__(self, response: str, answer: str, options: Sequence[str] = (), question: str = "") -> float:
        return self._scores([_item(response, answer, options, question, "")])[0]

    def grade(self, prompts: Sequence[Prompt], responses: Sequence[Sequence[str]]) -> list[list[float]]:
        inputs = [
            _item(
                text,
                list(prompt.answers) if prompt.also_right else prompt.answer,
                prompt.options,
                prompt.question,
                prompt.source,
            )
            for prompt, group in zip(prompts, responses, strict=True)
            for text in group
        ]
        scores = iter(self._scores(inputs))
        return [[next(scores) for _ in group] for group in responses]

    def _scores(self, inputs: list[dict[str, Any]]) -> list[float]:
        results = self._call(inputs)
        if len(results) != len(inputs):
            raise UserError(f"PythonReward: {self.function} returned {len(results)} scores for {len(inputs)} responses.")
        scores = [result["overall"] if isinstance(result, dict) else result for result in results]
        wrong = next((score for score in scores if not isinstance(score, int | float) or score != score), None)
        if wrong is not None:
            raise UserError(f"PythonReward: {self.function} returned {wrong!r}, which is no number.")
        return [float(score) for score in scores]


def _item(
    response: str, answer: str | list[str] | None, options: Sequence[str], question: str, source: str
) -> dict[str, Any]:
    return {
        "response": response,
        "response_length": len(response),
        "ground_truth": answer,
        "options": list(options),
        "question": question,
        "source": source,
    }
