"""Pairs for the discriminator's warm-up: each teacher response beside responses that a policy sampled to the same prompt.

pairs of a row = its well-formed samples, at most ``sampling.group_size``
"""

from pathlib import Path

from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile, DataSource
from prism_pl.data.reading import as_json
from prism_pl.data.row_checks import Requirements, usable_rows
from prism_pl.data.row_files import write_rows
from prism_pl.engines import RolloutEngine, on_devices
from prism_pl.engines.answer_file import answers, kept_texts
from prism_pl.errors import UserError
from prism_pl.ranges import NonNegativeInt, PositiveInt
from prism_pl.segments import well_formed
from prism_pl.types import SamplingOptions


def make_pairs(
    policy: str,
    path: str | DataSource,
    out: str,
    engine: RolloutEngine,
    sampling: SamplingOptions,
    max_prompt_tokens: PositiveInt = 2048,
    drop_too_long: bool = False,
    seed: NonNegativeInt = 0,
    devices: PositiveInt = 1,
) -> None:
    """Writes ``responses.jsonl`` as it samples, then ``pairs.parquet``: the rows with the column ``student_response``.

    A malformed response has no sections to compare, and makes no pair. The same command goes on where a run stopped;
    another policy, file, sampling or seed needs another folder.

    Args:
        policy: the model whose responses are wanted.
        path: data file with teacher responses.
        out: folder to write.
        engine: ``VLLMEngine`` or ``TransformersEngine``.
        sampling: ``group_size`` samples a prompt.
        max_prompt_tokens: limit of a prompt, images included.
        drop_too_long: drop and count rows over the limit instead of stopping.
        seed: of sampling.
        devices: GPUs that sample, each with an engine of its own; on a CPU processes, which share its threads.
    """
    folder, data, encoder = Path(out), DataFile.open(path, "path"), PromptEncoder(policy, max_prompt_tokens)
    rows = usable_rows(data, encoder, Requirements(("teacher",), drop_too_long=drop_too_long)).tolist()
    file = folder / "responses.jsonl"
    lines = answers(
        on_devices(engine, devices), policy, data, encoder, rows, file, sampling, kept_texts, seed, "pairs", "responses"
    )
    pairs = [(row, text) for row in rows for text in well_formed(lines[row]["responses"])]
    if not pairs:
        raise UserError(f"{file}: no response is well-formed, so there is no pair. Train the policy on the format first.")
    numbers, texts = zip(*pairs, strict=True)
    write_rows(data, numbers, folder / "pairs.parquet", {"student_response": texts})
    sampled = len(rows) * sampling.group_size
    print(f"{len(rows)} prompts, {sampled} responses, {sampled - len(pairs)} of them malformed")
    print(f"{len(pairs)} pairs: {folder / 'pairs.parquet'}{as_json(data.written)}")
