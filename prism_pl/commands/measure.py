"""``measure``: all held-out figures of one policy, with every response kept."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import mean

import torch

from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile, DataSource
from prism_pl.data.row_checks import Requirements, usable_rows
from prism_pl.drift import ResponseEncoder
from prism_pl.engines import RolloutEngine, on_devices
from prism_pl.ranges import NonNegativeInt, PositiveInt
from prism_pl.rewards import AnswerReward, Reward, counted, counts_line
from prism_pl.runs.files import FINISHED_MARK, finish, keep_settings, only_process, write_atomically
from prism_pl.study.answers import answer_heldout
from prism_pl.study.collect import FIGURES_FILE, RESPONSES_FILE, SETTINGS_FILE
from prism_pl.study.figures import DISTANCES, OF_PROMPTS, distances, drifts, of_prompt


def measure(
    policy: str,
    path: str | DataSource,
    out: str,
    engine: RolloutEngine,
    max_new_tokens: PositiveInt,
    num_samples: PositiveInt = 8,
    num_prompts: PositiveInt | None = None,
    reward: Reward | None = None,
    max_prompt_tokens: PositiveInt = 2048,
    seed: NonNegativeInt = 0,
    devices: PositiveInt = 1,
    encoder: ResponseEncoder | None = None,
) -> None:
    """Writes ``measured.jsonl`` as it samples, then ``measured.json`` with the figures.

    The same command goes on where a run stopped; another policy, file, sampling or seed needs another folder.

    Args:
        policy: the model that is measured.
        path: data file with answers that no stage trains on; rows with teachers also give the distances to them.
        out: folder to write.
        engine: ``VLLMEngine`` or ``TransformersEngine``.
        max_new_tokens: length limit of a response, in tokens.
        num_samples: n, samples a prompt at temperature 1.
        num_prompts: the first so many rows of the file; null is all.
        reward: says whether an answer is right; null is ``AnswerReward``.
        max_prompt_tokens: limit of a prompt, images included.
        seed: of sampling.
        devices: GPUs that sample, each with an engine of its own; on a CPU processes, which share its threads.
        encoder: also compares the responses' embeddings by it: ``HiddenStates`` of the base policy, or a
            ``SentenceEncoder``; null does not.
    """
    folder, grader = Path(out), reward or AnswerReward()
    if encoder is not None:
        encoder.source(None)  # refused before anything is sampled
    data, prompt_encoder = DataFile.open(path, "path"), PromptEncoder(policy, max_prompt_tokens)
    rows = usable_rows(data, prompt_encoder, Requirements(("answer",)))[:num_prompts].tolist()
    settings = {
        "policy": policy, "path": data.name, "seed": seed, "num_samples": num_samples, "max_new_tokens": max_new_tokens,
        "num_prompts": num_prompts, "reward": repr(grader),
    }  # fmt: skip
    with only_process(folder):
        keep_settings(folder / SETTINGS_FILE, settings, "responses")
        with counted(grader, folder) as counts:
            records = answer_heldout(
                on_devices(engine, devices),
                policy,
                data,
                prompt_encoder,
                rows,
                folder / RESPONSES_FILE,
                max_new_tokens,
                num_samples,
                grader,
                seed,
            )
        of_prompts = [of_prompt(record) for record in records]
        figures = {name: mean(values[name] for values in of_prompts) for name in OF_PROMPTS} | distances(records)
        without = sum(record.teacher is None for record in records)
        beside = drifts(records, None if encoder is None else partial(_points, encoder))
        measured = {
            "prompts": len(records), "without_teacher": without, "figures": figures,
            "encoder": repr(encoder), "drift": {name: own.record for name, own in beside.items()},
        }  # fmt: skip
        write_atomically(folder / FIGURES_FILE, json.dumps(measured, indent=2) + "\n")
        if not (folder / FINISHED_MARK).exists():
            finish(folder, 0, None)
    for name in OF_PROMPTS:
        print(f"{name:<20}{figures[name]:8.3f}")
    if beside:
        print(f"\n{'distance':<20}{'all':>8}  {'a half [95 %]':>24}  {'teachers, two halves':>24}")
    for name, own in beside.items():
        whole = f"{figures[name]:.3f}" if name in figures else ""
        print(f"{name:<20}{whole:>8}  {own.value!s:>24}  {own.floor!s:>24}")
    if absent := [name for name in DISTANCES if name not in figures]:
        print(f"not measured: {', '.join(absent)} ({without} of {len(records)} prompts have no teacher)")
    print(counts_line(grader, counts), end="")
    print(f"{len(records)} prompts, {num_samples} samples each: {folder / RESPONSES_FILE}")


def _points(encoder: ResponseEncoder, texts: Sequence[str]) -> torch.Tensor:
    return encoder.embed(texts, None, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
