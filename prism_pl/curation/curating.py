"""``curate``: asks a teacher for responses to hard prompts and keeps the verified ones.

A row is done at its first verified response, or when its tries are spent; a failure of the endpoint spends no try.
"""

import time
from collections.abc import Sequence
from os.path import relpath
from pathlib import Path
from typing import Any

from prism_pl.curation.asking import Asking
from prism_pl.curation.ledger import Ledger
from prism_pl.curation.selection import hard_rows
from prism_pl.curation.summary import summary
from prism_pl.data.conversation import PromptRow, check_marks
from prism_pl.data.files import DataFile, DataSource
from prism_pl.data.reading import TURNS, as_json
from prism_pl.data.row_files import write_rows
from prism_pl.data.rows import check_needs, image_entries
from prism_pl.endpoint import EndpointOptions
from prism_pl.errors import UserError
from prism_pl.ranges import NonNegativeInt, PositiveInt, Share
from prism_pl.rewards import AnswerReward, Reward, counted, counts_line
from prism_pl.runs.files import keep_settings, only_process


def curate(
    path: str | DataSource,
    out: str,
    endpoint: EndpointOptions,
    tries: PositiveInt = 4,
    low: Share | None = None,
    high: Share | None = None,
    hardest: PositiveInt | None = None,
    limit: PositiveInt | None = None,
    reward: Reward | None = None,
    seed: NonNegativeInt = 0,
) -> None:
    """Writes ``tries.jsonl`` as answers come, then ``curated.parquet``: data for every stage.

    Its ``messages`` end with the teacher's turn, for SFT; ``teacher`` is the same text, for warm-up and alignment. The same
    command goes on where a run stopped, and so does one with more tries or another choice of rows; another teacher, file or
    seed needs another folder.

    Args:
        path: data file with answers.
        out: folder to write.
        endpoint: the teacher. Another address is no other teacher, another ``model`` is.
        tries: responses that a row gets at most; none after the first verified one.
        low: smallest pass rate of a row that is asked for; the column ``pass_rate`` comes from ``filter``; null is none.
        high: largest pass rate; the paper's 0 are the rows that the policy never solves.
        hardest: the number of rows with the lowest pass rates that are asked for; null is all.
        limit: the number of rows that are asked for, from the first; null is all.
        reward: verifies well-formed responses, which must score 1; null is ``AnswerReward``.
        seed: of the responses, with row and try; an endpoint may ignore it.
    """
    if tries < 1:
        raise UserError(f"tries: at least 1 is needed, it is {tries}.")
    folder, verifier, data = Path(out), reward or AnswerReward(), DataFile.open(path, "path")
    rows = hard_rows(data, low, high, hardest, limit)
    _check_rows(data, rows)
    with only_process(folder):
        ledger, settings_file = Ledger(folder / "tries.jsonl"), folder / "curate.json"
        if not ledger.spent:
            # Nothing depends on the settings yet: a first run may have failed for a mistake in them.
            settings_file.unlink(missing_ok=True)
        keep_settings(settings_file, _settings(data, endpoint, verifier, seed), "a teacher's responses")
        asking, start = Asking(data, endpoint, verifier, ledger, tries, seed), time.monotonic()
        with counted(verifier, folder) as counts:
            asking.run(rows)
        seconds = time.monotonic() - start
        responses = ledger.responses()
        kept = [row for row in rows if row in responses]
        _write(data, kept, [responses[row] for row in kept], folder / "curated.parquet")
    print(summary(data, rows, ledger, asking, seconds))
    print(counts_line(verifier, counts), end="")
    print(
        f"\nkept {len(kept)} of {len(rows)} rows"
        + (f": {folder / 'curated.parquet'}{as_json(data.written)}" if kept else ", no file is written")
    )
    asking.check_unanswered(rows)


def _check_rows(data: DataFile, rows: Sequence[int]) -> None:
    """Every defect is found before anything is paid for."""
    for index in rows:
        row = data.prompt_row(index)
        check_needs(row, ("answer",))
        check_marks(row)
        for image in row.images:
            image.size()


def _settings(data: DataFile, endpoint: EndpointOptions, reward: Reward, seed: int) -> dict[str, Any]:
    """What the tries on disk depend on."""
    own = {"path": data.name, "rows": len(data), "reward": repr(reward), "seed": seed, **data.reading.changes}
    return own | {name: getattr(endpoint, name) for name in ("model", "temperature", "max_tokens", "extra")}


def _write(data: DataFile, rows: Sequence[int], responses: Sequence[str], file: Path) -> None:
    if not rows:
        # One of an earlier choice of rows would be taken for this one's.
        file.unlink(missing_ok=True)
        return
    prompts = [data.prompt_row(row) for row in rows]
    columns: dict[str, list[Any]] = {
        "messages": [
            [*prompt.messages, {"role": "assistant", "content": response}]
            for prompt, response in zip(prompts, responses, strict=True)
        ],
        "teacher": list(responses),
    }
    if any(_has_images_in_turns(data, row, prompt) for row, prompt in zip(rows, prompts, strict=True)):
        columns["images"] = [_image_entries(prompt, data.root) for prompt in prompts]
    # The messages say all that these do.
    write_rows(data, rows, file, columns, leave_out=TURNS)


def _has_images_in_turns(data: DataFile, row: int, prompt: PromptRow) -> bool:
    return len(prompt.images) != len(image_entries(data.reading.renamed(data.table[row], data.source(row))))


def _image_entries(prompt: PromptRow, root: Path) -> list[dict[str, Any]]:
    return [{"bytes": i.data, "path": None if i.path is None else relpath(i.path, root)} for i in prompt.images]
