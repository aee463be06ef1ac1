"""``evaluate``: models side by side on sets of questions.

``measure`` stays: it is what ``study`` runs for each arm, with the distances to a teacher. Both keep responses by the same
functions and count by the same definitions.
"""

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from prism_pl.endpoint import EndpointOptions
from prism_pl.engines import RolloutEngine, on_devices
from prism_pl.errors import UserError
from prism_pl.evaluation.comparison import compare
from prism_pl.evaluation.model_on_set import ModelOnSet
from prism_pl.evaluation.responders import EndpointResponder, EngineResponder, Responder
from prism_pl.evaluation.responses import Draw
from prism_pl.evaluation.results import Compared, Evaluation
from prism_pl.evaluation.server_responder import ServerResponder
from prism_pl.evaluation.subjects import EvaluatedModel, EvaluationSet, check_name, find_models, open_sets
from prism_pl.evaluation.table import text
from prism_pl.ranges import NonNegativeFloat, NonNegativeInt, PositiveInt, PositiveShare
from prism_pl.rewards import AnswerReward, Reward, counted, counts_line
from prism_pl.runs.files import only_process, write_atomically
from prism_pl.runs.graph import check_distinct, check_known
from prism_pl.types import SamplingOptions
from prism_pl.vllm_server import ServerOptions, check_installed


def evaluate(
    sets: list[EvaluationSet],
    out: str,
    max_new_tokens: PositiveInt,
    models: list[str | EvaluatedModel] | None = None,
    engine: RolloutEngine | None = None,
    server: ServerOptions | None = None,
    endpoints: list[EndpointOptions] | None = None,
    greedy: bool = True,
    num_samples: NonNegativeInt = 4,
    temperature: NonNegativeFloat = 1.0,
    top_p: PositiveShare = 0.7,
    seeds: list[NonNegativeInt] | None = None,
    budgets: list[PositiveInt] | None = None,
    reference: str | None = None,
    reward: Reward | None = None,
    judge: Reward | None = None,
    max_prompt_tokens: PositiveInt = 2048,
    devices: PositiveInt = 1,
) -> None:
    """Writes every response as it comes, then ``table.json`` and ``table.csv``, and prints the table.

    The same command goes on where a run stopped, and so does one with more models, sets, seeds or prompts; another
    sampling, reward or data file needs another folder.

    Args:
        sets: data files with answers, or benchmarks of the paper.
        out: folder to write.
        max_new_tokens: length limit of a response, in tokens, for sets without their own; benchmarks have the paper's.
        models: model folders, names on the hub, stages, or whole runs, of which every stage with a model counts.
        engine: ``VLLMEngine`` or ``TransformersEngine``, for ``models``.
        server: in its place: each model answers behind a ``vllm serve`` of its own, which starts here and ends again.
        endpoints: models behind OpenAI-compatible endpoints; temperature, top-p and length limit are this command's.
        greedy: whether one response a question is greedy.
        num_samples: n, samples a question and seed; 0 is none.
        temperature: of the samples.
        top_p: of the samples; with temperature 1 and one sample the paper's 0.7 is its own evaluation.
        seeds: of the samples, each with n of its own; null is 0.
        budgets: lengths in tokens at which accuracy is told, too; null is an eighth, a quarter and half of the limit.
        reference: name of the model that the others are compared with; null is the first.
        reward: says whether an answer is right; null is ``AnswerReward``.
        judge: a second verdict on every response, told apart, such as ``JudgeReward``'s; null is none.
        max_prompt_tokens: limit of a prompt, images included.
        devices: GPUs that sample, each with an engine of its own; on a CPU processes, which share its threads.
    """
    folder, grader, opened, chosen = Path(out), reward or AnswerReward(), open_sets(sets), [0] if seeds is None else seeds
    check_distinct([str(seed) for seed in chosen], "seeds", "value")
    if not greedy and not (num_samples and chosen):
        raise UserError("greedy, num_samples, seeds: nothing would be sampled. Set greedy or at least one sample and seed.")
    sampling = SamplingOptions(
        max_new_tokens=max_new_tokens, group_size=max(1, num_samples), temperature=temperature, top_p=top_p
    )
    limits = {one.name: one.max_new_tokens(max_new_tokens) for one in opened}
    longest = replace(sampling, max_new_tokens=max(limits.values()))
    responders = [
        *_of_models(models or [], engine, server, max_prompt_tokens, devices, longest, folder),
        *_of_endpoints(endpoints or []),
    ]
    if not responders:
        raise UserError("models, endpoints: there is nothing to evaluate. Name a model, a run or an endpoint.")
    check_distinct([responder.name for responder in responders], "models", "name")
    names = [responder.name for responder in responders]
    against = reference or names[0]
    check_known(against, names, "reference", "model")
    # Every row of every set is looked at before anything is sampled.
    pairs = [
        ModelOnSet(
            responder, one, *_draws(replace(sampling, max_new_tokens=limits[one.name]), greedy, num_samples, chosen), folder
        )
        for responder in responders
        for one in opened
    ]
    if judge is not None:
        judge.take_counts()
    with only_process(folder), counted(grader, folder) as counts:
        for responder in responders:
            with closing(responder):
                for pair in pairs:
                    if pair.responder is responder:
                        pair.answer(grader)
        evaluation = Evaluation([pair.result(budgets, judge) for pair in pairs], _comparisons(pairs, against))
        judge_counts = {} if judge is None else judge.take_counts()
        settings = {
            "num_samples": num_samples, "temperature": temperature, "top_p": top_p, "seeds": chosen,
            "max_new_tokens": limits, "reward": repr(grader), "judge": None if judge is None else repr(judge),
            "judge_counts": judge_counts,
        }  # fmt: skip
        write_atomically(folder / "table.json", json.dumps(evaluation.record(settings), indent=2) + "\n")
        write_atomically(folder / "table.csv", evaluation.csv())
    print(f"\n{text(evaluation)}\n")
    print(counts_line(grader, counts), end="")
    print("" if judge is None else f"judge, {counts_line(judge, judge_counts)}", end="")
    print(f"[low, high]: 95 % interval. All figures: {folder / 'table.json'}")
    _check_whole(pairs, judge_counts.get("failed", 0))


def _draws(
    sampling: SamplingOptions, greedy: bool, num_samples: int, seeds: Sequence[int]
) -> tuple[Draw | None, list[Draw]]:
    best = SamplingOptions(max_new_tokens=sampling.max_new_tokens, group_size=1, temperature=0.0)
    samples = [Draw(f"seed{seed}", seed, sampling) for seed in seeds] if num_samples else []
    return Draw("greedy", 0, best) if greedy else None, samples


def _of_models(
    models: Sequence[str | EvaluatedModel],
    engine: RolloutEngine | None,
    server: ServerOptions | None,
    max_prompt_tokens: int,
    devices: int,
    longest: SamplingOptions,
    out: Path,
) -> list[Responder]:
    """Raises UserError for models without an engine or a server, or with both, and for names that are no folder's."""
    if not models:
        return []
    if server is not None:
        if engine is not None:
            raise UserError("server, engine: a model is answered by one of them. Leave one out, or say `--engine null`.")
        if devices > 1:
            raise UserError(
                "devices: these are copies of an engine. Give a server its GPUs by server.tensor_parallel_size."
            )
        check_installed("server")
        return [
            ServerResponder(own, server, max_prompt_tokens, longest.max_new_tokens, out / "servers" / f"{own.name}.log")
            for own in find_models(models)
        ]
    if engine is None:
        raise UserError(
            "engine: `models` need one. Set class_path to VLLMEngine or TransformersEngine, or `server` in its place."
        )
    engine.check()
    shared = on_devices(engine, devices)
    return [EngineResponder(own, shared, max_prompt_tokens, longest) for own in find_models(models)]


def _of_endpoints(endpoints: Sequence[EndpointOptions]) -> list[Responder]:
    """Raises UserError for a name that is no folder's."""
    for options in endpoints:
        check_name(options.model, "endpoints: model")
    return [EndpointResponder(options) for options in endpoints]


def _comparisons(pairs: Sequence[ModelOnSet], reference: str) -> list[Compared]:
    """Each model against the reference, set by set."""
    references = {pair.set.name: pair.outcomes() for pair in pairs if pair.responder.name == reference}
    compared = []
    for pair in pairs:
        found = compare(pair.outcomes(), references[pair.set.name]) if pair.responder.name != reference else None
        if found is not None:
            compared.append(Compared(pair.responder.name, reference, pair.set.name, found))
    return compared


def _check_whole(pairs: Sequence[ModelOnSet], without_verdict: int) -> None:
    """Raises UserError if a request was not answered."""
    failed = [
        f"{pair.responder.name}, {pair.set.data.source(row)}: {why}" for pair in pairs for row, why in pair.failures.items()
    ]
    if failed:
        raise UserError(
            f"endpoints: {len(failed)} questions got no answer and are in no figure, so these are biased; the first: "
            f"{failed[0]} All other responses are on disk: the same command asks for the missing ones alone."
        )
    if without_verdict:
        raise UserError(
            f"judge: it gave no verdict on {without_verdict} answers, for which the rules' verdict stands. All others are "
            f"on disk: the same command asks for the missing ones alone."
        )
