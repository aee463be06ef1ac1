"""``evaluate``: models side by side on sets of questions.

``measure`` stays: it is what ``study`` runs for each arm, with the distances to a teacher. Both keep responses by the same
functions and count by the same definitions.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from prism_pl.endpoint import EndpointOptions
from prism_pl.engines import RolloutEngine, on_devices
from prism_pl.errors import UserError
from prism_pl.evaluation.comparison import compare
from prism_pl.evaluation.figures import Outcome, figures
from prism_pl.evaluation.responders import EndpointResponder, EngineResponder, Responder
from prism_pl.evaluation.responses import Draw, read_outcomes
from prism_pl.evaluation.results import Compared, Evaluation, Result
from prism_pl.evaluation.subjects import EvaluatedModel, EvaluationSet, OpenSet, check_name, find_models, open_sets
from prism_pl.evaluation.table import text
from prism_pl.ranges import NonNegativeFloat, NonNegativeInt, PositiveInt, PositiveShare
from prism_pl.rewards import AnswerReward, Reward, counted, counts_line
from prism_pl.runs.files import keep_settings, only_process, write_atomically
from prism_pl.runs.graph import check_distinct, check_known
from prism_pl.types import SamplingOptions

_GREEDY = "greedy"
_BUDGETS = (8, 4, 2)
"""Parts of the length limit that accuracy is told at, unless budgets are given."""


def evaluate(
    sets: list[EvaluationSet],
    out: str,
    max_new_tokens: PositiveInt,
    models: list[str | EvaluatedModel] | None = None,
    engine: RolloutEngine | None = None,
    endpoints: list[EndpointOptions] | None = None,
    greedy: bool = True,
    num_samples: NonNegativeInt = 4,
    temperature: NonNegativeFloat = 1.0,
    top_p: PositiveShare = 0.7,
    seeds: list[NonNegativeInt] | None = None,
    budgets: list[PositiveInt] | None = None,
    reference: str | None = None,
    reward: Reward | None = None,
    max_prompt_tokens: PositiveInt = 2048,
    devices: PositiveInt = 1,
) -> None:
    """Writes every response as it comes, then ``table.json`` and ``table.csv``, and prints the table.

    The same command goes on where a run stopped, and so does one with more models, sets, seeds or prompts; another
    sampling, reward or data file needs another folder.

    Args:
        sets: data files with answers.
        out: folder to write.
        max_new_tokens: length limit of a response, in tokens, for sets without their own.
        models: model folders, names on the hub, stages, or whole runs, of which every stage with a model counts.
        engine: ``VLLMEngine`` or ``TransformersEngine``, for ``models``.
        endpoints: models behind OpenAI-compatible endpoints; temperature, top-p and length limit are this command's.
        greedy: whether one response a question is greedy.
        num_samples: n, samples a question and seed; 0 is none.
        temperature: of the samples.
        top_p: of the samples; with temperature 1 and one sample the paper's 0.7 is its own evaluation.
        seeds: of the samples, each with n of its own; null is 0.
        budgets: lengths in tokens at which accuracy is told, too; null is an eighth, a quarter and half of the limit.
        reference: name of the model that the others are compared with; null is the first.
        reward: says whether an answer is right; null is ``AnswerReward``.
        max_prompt_tokens: limit of a prompt, images included.
        devices: GPUs that sample, each with an engine of its own; on a CPU processes, which share its threads.
    """
    folder, grader, opened = Path(out), reward or AnswerReward(), open_sets(sets)
    draws = {one.name: _draws(one, max_new_tokens, greedy, num_samples, temperature, top_p, seeds) for one in opened}
    responders = _responders(models or [], engine, endpoints or [], max_prompt_tokens, devices, draws)
    names = [responder.name for responder in responders]
    against = reference or names[0]
    check_known(against, names, "reference", "model")
    # Every row of every set is looked at before anything is sampled.
    rows = {
        (responder.name, one.name): responder.rows(one.data)[: one.options.num_prompts]
        for responder in responders
        for one in opened
    }
    failures: list[str] = []
    results: list[Result] = []
    outcomes: dict[tuple[str, str], list[Outcome]] = {}
    with only_process(folder), counted(grader, folder) as counts:
        for responder in responders:
            for one in opened:
                own, place = rows[responder.name, one.name], folder / one.name / responder.name
                failed: dict[int, str] = {}
                for draw in draws[one.name]:
                    keep_settings(draw.settings_file(place), _settings(responder, one, draw, grader), "responses")
                    print(f"{responder.name}, {one.name}, {draw.name}", flush=True)
                    failed |= responder.answer(one.data, own, draw, draw.file(place), grader)
                failures += [f"{responder.name}, {one.data.source(row)}: {why}" for row, why in failed.items()]
                found = _read(draws[one.name], place, own, one)
                outcomes[responder.name, one.name] = found
                results += [_result(responder.name, one, found, len(failed), draws[one.name], place, own, budgets)]
            responder.close()
        evaluation = Evaluation(results, _comparisons(outcomes, names, [one.name for one in opened], against))
        settings = {
            "num_samples": num_samples, "temperature": temperature, "top_p": top_p, "seeds": seeds or [0],
            "max_new_tokens": {name: own[0].sampling.max_new_tokens for name, own in draws.items()}, "reward": repr(grader),
        }  # fmt: skip
        write_atomically(folder / "table.json", json.dumps(evaluation.record(settings), indent=2) + "\n")
        write_atomically(folder / "table.csv", evaluation.csv())
    print(f"\n{text(evaluation)}\n")
    print(counts_line(grader, counts), end="")
    print(f"[low, high]: 95 % interval. All figures: {folder / 'table.json'}")
    if failures:
        raise UserError(
            f"endpoints: {len(failures)} questions got no answer and are in no figure, so these are biased; the first: "
            f"{failures[0]} All other responses are on disk: the same command asks for the missing ones alone."
        )


def _draws(
    one: OpenSet, limit: int, greedy: bool, num_samples: int, temperature: float, top_p: float, seeds: list[int] | None
) -> list[Draw]:
    """How a set is sampled: a file each. Raises UserError for no responses at all, or one seed given twice."""
    chosen = seeds if seeds is not None else [0]
    check_distinct([str(seed) for seed in chosen], "seeds", "value")
    if not greedy and not (num_samples and chosen):
        raise UserError("greedy, num_samples, seeds: nothing would be sampled. Set greedy or at least one sample and seed.")
    best = SamplingOptions(max_new_tokens=one.options.max_new_tokens or limit, group_size=1, temperature=0.0)
    draws = [Draw(_GREEDY, 0, best)] if greedy else []
    if num_samples:
        sampled = replace(best, group_size=num_samples, temperature=temperature, top_p=top_p)
        draws += [Draw(f"seed{seed}", seed, sampled) for seed in chosen]
    return draws


def _responders(
    models: Sequence[str | EvaluatedModel],
    engine: RolloutEngine | None,
    endpoints: Sequence[EndpointOptions],
    max_prompt_tokens: int,
    devices: int,
    draws: dict[str, list[Draw]],
) -> list[Responder]:
    if models and engine is None:
        raise UserError("engine: `models` need one. Set class_path to VLLMEngine or TransformersEngine.")
    samplings = [draw.sampling for own in draws.values() for draw in own]
    longest = max(samplings, key=lambda sampling: sampling.max_new_tokens)
    responders: list[Responder] = []
    if engine is not None:
        engine.check()
        shared = on_devices(engine, devices)
        responders += [EngineResponder(own, shared, max_prompt_tokens, longest) for own in find_models(models)]
    responders += [EndpointResponder(options) for options in endpoints]
    for responder in responders:
        check_name(responder.name, "endpoints: model")
    if not responders:
        raise UserError("models, endpoints: there is nothing to evaluate. Name a model, a run or an endpoint.")
    check_distinct([responder.name for responder in responders], "models", "name")
    return responders


def _settings(responder: Responder, one: OpenSet, draw: Draw, reward: Reward) -> dict[str, Any]:
    """What one file of responses depends on."""
    own = {"path": one.data.name, "reading": one.data.reading.changes, "rows": len(one.data), "reward": repr(reward)}
    return responder.settings() | own | {"seed": draw.seed} | vars(draw.sampling)


def _read(draws: Sequence[Draw], place: Path, rows: Sequence[int], one: OpenSet) -> list[Outcome]:
    best = next((draw.file(place) for draw in draws if draw.name == _GREEDY), None)
    samples = [draw.file(place) for draw in draws if draw.name != _GREEDY]
    return read_outcomes(best, samples, rows, one.groups(rows))


def _result(
    model: str,
    one: OpenSet,
    found: Sequence[Outcome],
    failed: int,
    draws: Sequence[Draw],
    place: Path,
    rows: Sequence[int],
    budgets: Sequence[int] | None,
) -> Result:
    limit = draws[0].sampling.max_new_tokens
    chosen = [max(1, limit // part) for part in _BUDGETS] if budgets is None else budgets
    seeds = {
        draw.seed: [mean(own.score for own in outcome.samples) for outcome in _read([draw], place, rows, one)]
        for draw in draws
        if draw.name != _GREEDY
    }
    return Result(
        model=model,
        set=one.name,
        questions=len(found),
        failed=failed,
        figures=figures(found, sorted(set(chosen))) if found else {},
        seeds={seed: mean(values) for seed, values in seeds.items() if values},
    )


def _comparisons(
    outcomes: dict[tuple[str, str], list[Outcome]], models: Sequence[str], sets: Sequence[str], reference: str
) -> list[Compared]:
    pairs = [(one, model) for one in sets for model in models if model != reference]
    found = [(one, model, compare(outcomes[model, one], outcomes[reference, one])) for one, model in pairs]
    return [Compared(model, reference, one, own) for one, model, own in found if own is not None]
