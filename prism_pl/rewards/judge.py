"""1 for a well-formed response whose answer is right: the rules of ``AnswerReward``, and a model where they abstain.

rules decide       their verdict, nobody is asked
rules abstain      the judge's verdict, which may be lower or higher; from the file if it was asked before
no verdict         the rules' verdict: a failure earns nothing that the rules do not pay, and is counted
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from prism_pl.endpoint import Endpoint, EndpointOptions, NoAnswer
from prism_pl.ranges import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from prism_pl.rewards.base import Reward, grade_together, require_math_verify
from prism_pl.rewards.judging import INSTRUCTION, Case, judge_request, parse_verdict
from prism_pl.rewards.verdict_file import VerdictFile
from prism_pl.segments import parse_response
from prism_pl.types import Prompt
from prism_pl.verification import Question, verdicts

_log = logging.getLogger(__name__)
_EXCERPT = 80


@dataclass(frozen=True, kw_only=True, repr=False)
class JudgeEndpoint(EndpointOptions):
    """Where the judge is; an endpoint as ``curate`` has one, with the defaults of one that says a word."""

    concurrency: PositiveInt = 16
    """Requests in flight at a time, of each process."""
    max_retries: NonNegativeInt = 3
    """Repetitions of a request after 429, 5xx, a cut connection, a timeout or a body that is no chat completion."""
    timeout_s: PositiveFloat = 60.0
    """Seconds for one whole response."""
    temperature: NonNegativeFloat = 0.0
    """Softmax temperature; 0 is greedy."""
    max_tokens: PositiveInt = 1024
    """Length limit of a response; a judge that thinks needs more than a word."""

    def __repr__(self) -> str:
        # What verdicts depend on: another address is no other judge.
        own = (f"{name}={getattr(self, name)!r}" for name in ("model", "temperature", "max_tokens", "extra"))
        return f"JudgeEndpoint({', '.join(own)})"


@dataclass(frozen=True, kw_only=True)
class JudgeReward(Reward):
    """For free-form answers. The judge sees the question's text, the options, the true answer and the answer alone."""

    counters: ClassVar[tuple[str, ...]] = ("asked", "cached", "raised", "lowered", "failed")

    endpoint: JudgeEndpoint
    """The judge's ``base_url`` and ``model``, and how it is asked. The key is in the environment alone."""
    weight: float = 0.8
    """Share of the total reward."""
    name: str = "accuracy"
    """Key in the logs."""
    cache: str = field(default="runs/judge.jsonl", repr=False)
    """File of all verdicts, which runs and processes may share."""
    instruction: str = INSTRUCTION
    """When an answer is right; what the judge gets and how it replies is said after it."""
    limit_s: PositiveFloat = field(default=300.0, repr=False)
    """Seconds for all questions of a batch; for those without a verdict by then the rules' verdict is paid."""
    processes: PositiveInt | None = field(default=None, repr=False)
    """Worker processes of the rules; null is one a core, at most eight."""

    def __post_init__(self) -> None:
        require_math_verify("JudgeReward")
        self.endpoint.read_key()  # a key that is missing is an error at the start

    def __call__(self, response: str, answer: str, options: Sequence[str] = (), question: str = "") -> float:
        return self._scores([(response, Case(question, answer, "", tuple(options)))])[0]

    def grade(self, prompts: Sequence[Prompt], responses: Sequence[Sequence[str]]) -> list[list[float]]:
        """The whole batch at once, each question to the judge once; of several true answers the best counts."""
        return grade_together(
            prompts,
            responses,
            lambda response, answer, prompt: (response, Case(prompt.question, answer, "", prompt.options)),
            self._scores,
        )

    def take_counts(self) -> dict[str, int]:
        counts = {name: self._counts[name] for name in self.counters}
        self._counts.clear()
        return counts

    @cached_property
    def _counts(self) -> Counter[str]:
        return Counter()

    @cached_property
    def _verdicts(self) -> VerdictFile:
        return VerdictFile(Path(self.cache))

    def _scores(self, items: Sequence[tuple[str, Case]]) -> list[float]:
        sections = [parse_response(response) for response, _ in items]
        cases = [
            case._replace(answer=own.answer) for own, (_, case) in zip(sections, items, strict=True) if own is not None
        ]
        right = iter(self._judged(cases))
        return [float(own is not None and next(right)) for own in sections]

    def _judged(self, cases: Sequence[Case]) -> list[bool]:
        rules = verdicts([Question(case.answer, case.true_answer, case.options) for case in cases], self.processes)
        open_cases = [case for case, verdict in zip(cases, rules, strict=True) if verdict.abstains]
        judged = self._ask(open_cases) if open_cases else {}
        result = []
        for case, verdict in zip(cases, rules, strict=True):
            right = judged.get(case, verdict.right) if verdict.abstains else verdict.right
            self._counts["raised"] += right > verdict.right
            self._counts["lowered"] += right < verdict.right
            result.append(right)
        return result

    def _ask(self, cases: Sequence[Case]) -> dict[Case, bool]:
        """The judge's verdicts, without those that it failed to give."""
        requests = {case: judge_request(case, self.instruction, self.endpoint) for case in cases}
        known = self._verdicts.refresh()
        todo = {key: (case, messages, seed) for case, (key, messages, seed) in requests.items() if key not in known}
        self._counts["asked"] += len(todo)
        self._counts["cached"] += len(cases) - len(todo)
        if todo:
            problems = asyncio.run(self._ask_all(todo))
            known = self._verdicts.refresh()
            failed = sum(key not in known for key in todo)
            self._counts["failed"] += failed
            if failed:
                _log.warning(
                    "%s: the judge gave no verdict on %d of %d answers, for which the rules' verdict is paid: %s",
                    self.name, failed, len(todo), problems[0],
                )  # fmt: skip
        return {case: known[key] for case, (key, _, _) in requests.items() if key in known}

    async def _ask_all(self, todo: dict[str, tuple[Case, list[dict[str, Any]], int]]) -> list[str]:
        """Writes verdicts to the file as they come; why others did not. Raises UserError for a mistake in the options."""
        remaining, problems = iter(todo.items()), list[str]()

        async def work(endpoint: Endpoint) -> None:
            for key, (case, messages, seed) in remaining:
                try:
                    reply = await endpoint.ask(messages, seed)
                except NoAnswer as failure:
                    problems.append(str(failure))
                    continue
                if (right := parse_verdict(reply)) is None:
                    problems.append(f"it said {reply.text[:_EXCERPT]!r}, which is not `right` or `wrong` alone.")
                else:
                    self._verdicts.add(key, right, case._asdict() | {"model": self.endpoint.model})

        async with Endpoint(self.endpoint) as endpoint:
            try:
                async with asyncio.timeout(self.limit_s), asyncio.TaskGroup() as group:
                    for _ in range(min(self.endpoint.concurrency, len(todo))):
                        group.create_task(work(endpoint))
            except TimeoutError:
                problems.append(f"the batch took longer than limit_s, {self.limit_s:g} s.")
            except BaseExceptionGroup as errors:
                # The first one has cancelled the others.
                raise errors.exceptions[0] from None
        return problems
