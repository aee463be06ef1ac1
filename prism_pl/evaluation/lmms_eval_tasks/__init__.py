"""The benchmarks as tasks of lmms-eval: what the YAMLs beside this file call. Nothing of lmms-eval is imported.

``evaluate`` is the way to run them. Who has a pipeline around lmms-eval gets the same questions and verdicts from these.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from statistics import mean
from typing import Any, NamedTuple

from prism_pl.data.conversation import PromptRow
from prism_pl.data.reading import SYSTEM_PROMPT
from prism_pl.evaluation.benchmarks import SEVEN, Benchmark, Membership
from prism_pl.evaluation.benchmarks.sub_scores import sub_scores
from prism_pl.evaluation.responses import gradable
from prism_pl.rewards import AnswerReward
from prism_pl.segments import parse_response

Item = dict[str, Any]
"""One question's result, with what its error bar needs: ``score`` and ``group``."""


class Functions(NamedTuple):
    """What a task of one benchmark consists of."""

    text: Callable[[Mapping[str, Any]], str]
    messages: Callable[[Mapping[str, Any]], list[dict[str, Any]]]
    results: Callable[[Mapping[str, Any], Sequence[str]], dict[str, Item]]


def accuracy(items: Sequence[Item]) -> float:
    """Mean score; of the well-formed share, too."""
    return mean(item["score"] for item in items)


def _functions(benchmark: Benchmark) -> Functions:
    def text(doc: Mapping[str, Any]) -> str:
        return benchmark.read(doc).question

    def messages(doc: Mapping[str, Any]) -> list[dict[str, Any]]:
        row = benchmark.read(doc)
        images = [{"type": "image", "url": image.convert("RGB")} for image in row.images]
        return [
            # lmms-eval ignores a system instruction that is given elsewhere.
            {"role": "system", "content": [{"type": "text", "text": SYSTEM_PROMPT}]},
            {"role": "user", "content": [*images, {"type": "text", "text": row.question}]},
        ]

    def results(doc: Mapping[str, Any], responses: Sequence[str]) -> dict[str, Item]:
        row = benchmark.read(doc)
        turn = {"role": "user", "content": row.question}
        prompt = PromptRow(benchmark.name, (turn,), (), row.answers[0], row.answers[1:], row.options)
        (scores,) = _reward().grade([gradable(prompt)], [responses])
        item = {"score": mean(scores), "group": row.group or None, "members": [asdict(own) for own in row.members]}
        well_formed = mean(float(parse_response(response) is not None) for response in responses)
        figures = dict.fromkeys(_FIGURES.get(benchmark.name, ()), item)
        return {"accuracy": item, "format": item | {"score": well_formed}, **figures}

    return Functions(text, messages, results)


@cache
def _reward() -> AnswerReward:
    return AnswerReward()


def _figure(name: str, benchmark: Benchmark) -> Callable[[Sequence[Item]], float]:
    def aggregate(items: Sequence[Item]) -> float:
        members = {row: [Membership(**own) for own in item["members"]] for row, item in enumerate(items)}
        groups = {row: item["group"] or str(row) for row, item in enumerate(items)}
        scores = {row: [item["score"]] for row, item in enumerate(items)}
        return sub_scores(members, scores, groups, benchmark.unit_value)[name].mean

    return aggregate


_FIGURES = {"WeMath": ("strict", "loose"), "HallusionBench": ("qAcc", "fAcc")}
wemath_strict, wemath_loose = (_figure(name, SEVEN["WeMath"]) for name in _FIGURES["WeMath"])
hallusion_bench_qacc, hallusion_bench_facc = (_figure(name, SEVEN["HallusionBench"]) for name in _FIGURES["HallusionBench"])

# By the names that a YAML can call.
mathvista_text, mathvista_messages, mathvista_results = _functions(SEVEN["MathVista"])
mathverse_text, mathverse_messages, mathverse_results = _functions(SEVEN["MathVerse"])
mathvision_text, mathvision_messages, mathvision_results = _functions(SEVEN["MathVision"])
wemath_text, wemath_messages, wemath_results = _functions(SEVEN["WeMath"])
mmmu_text, mmmu_messages, mmmu_results = _functions(SEVEN["MMMU"])
mmmu_pro_text, mmmu_pro_messages, mmmu_pro_results = _functions(SEVEN["MMMU-Pro"])
hallusion_bench_text, hallusion_bench_messages, hallusion_bench_results = _functions(SEVEN["HallusionBench"])
