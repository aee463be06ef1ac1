"""Reward gaps of a run folder whose texts are real, and the table and page that show them."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile
from prism_pl.discriminators import DedicatedExpertsDiscriminator, load_scorer
from prism_pl.embedded import EMBEDDED_NAME, embedded_folder
from prism_pl.errors import UserError
from prism_pl.game import Scores, arrange, make_scoring_batch, score_without_stage
from prism_pl.report import build_report
from prism_pl.report.collect import collect
from prism_pl.report.scores import ResponseScores, _by_source, heldout_prompts, score_run, teacher_tokens
from prism_pl.report.table import format_gap, make_rows, plain_table
from tests.prism_pl.report.fake_run import record, response, write_stage


@pytest.fixture(scope="module")
def scored_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four real rows: SFT says what row 0's teacher says, alignment what each row's own does, RLVR is malformed."""
    folder = tmp_path_factory.mktemp("scored")
    write_stage(folder / "warmup", [])
    discriminator = DedicatedExpertsDiscriminator().build(EMBEDDED_NAME, "test")
    discriminator.save(folder / "warmup" / "model", EMBEDDED_NAME, dict(discriminator.weights()))
    data = DataFile.open(str(embedded_folder() / "heldout.jsonl"), "test")
    rows = [data.prompt_row(index) for index in range(4)]
    for name in ("sft", "align", "rlvr"):
        said = {"sft": rows[0].teacher, "rlvr": "nothing"}
        records = [
            {
                **record(index, row.images[0].path, said.get(name, row.teacher), True, True, 10),
                "source": row.source,
                "data_source": {"image_root": EMBEDDED_NAME},
                "teacher": row.teacher,
            }
            for index, row in enumerate(rows)
        ]
        # SFT was not asked the last prompt.
        write_stage(folder / name, [], records[:3] if name == "sft" else records)
    return folder


def test_gaps_equal_those_of_each_stage_scored_alone(scored_run: Path) -> None:
    run = collect(scored_run)
    gaps = score_run(run, scored_run / "warmup" / "model", "warm-up discriminator")
    assert gaps.problem is None
    # Alone, and one prompt at a time: neither the other stages' segments nor padding may change a score.
    discriminator = load_scorer(str(scored_run / "warmup" / "model"), "test")
    encoder = PromptEncoder(str(scored_run / "warmup" / "model"), 2048)
    margins = []
    for said in run.stages["sft"].heldout:
        asked = heldout_prompts([said], encoder)
        scoring = make_scoring_batch(asked, [[said.sampled]], encoder.tokenizer, discriminator.reading)
        margins.append(arrange(score_without_stage(discriminator, scoring, 8192), scoring).margin_MK[0])
    margin_MK = torch.stack(margins).double()
    sft = gaps.gaps["sft"]
    assert [gap.mean for gap in sft] == pytest.approx(margin_MK.mean(0).tolist(), abs=1e-5)
    assert [gap.half for gap in sft] == pytest.approx((1.959964 * margin_MK.std(0) / math.sqrt(3)).tolist(), abs=1e-5)
    assert sft[0].pairs == 3
    assert max(abs(gap.mean) for gap in sft) > 1e-4, "other captions than the teacher's must score differently"
    assert [gap.mean for gap in gaps.gaps["align"]] == pytest.approx([0, 0], abs=1e-6)
    assert gaps.gaps["rlvr"] == ()
    # Each response's scores stand by its own prompt.
    assert [gaps.responses["sft"][said.source].gaps for said in run.stages["sft"].heldout] == [
        pytest.approx(own, abs=1e-5) for own in margin_MK.tolist()
    ]
    assert gaps.responses["rlvr"] == {}


def test_table_and_page_with_scores(scored_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = collect(scored_run)
    scorer = score_run(run, scored_run / "warmup" / "model", "warm-up discriminator")
    tokens = teacher_tokens(run)
    assert len(tokens) == 4
    rows = make_rows(run, tokens, [scorer])
    assert rows[0].tokens == sum(tokens) / 4
    assert "+0.00 ±0.00" in plain_table(rows).splitlines()[3]
    assert format_gap(scorer.gaps["rlvr"], 0) == "-"
    html = build_report(scored_run).read_text(encoding="utf-8")
    assert "gap, warm-up discriminator" in html
    assert "Reward gaps under the final discriminator: not measured" in html


def test_a_changed_data_file_is_refused(scored_run: Path) -> None:
    first = collect(scored_run).stages["align"].heldout[0]
    encoder = PromptEncoder(str(scored_run / "warmup" / "model"), 2048)
    file = first.source.rpartition(":")[0]
    count = len(DataFile.open(file, "test"))
    for change, message in (
        ({"teacher": response(1, 1, "1")}, "the row's `teacher` is not the run's"),
        ({"source": f"{file}:{count + 1}"}, f"{count + 1}: the data file has {count} rows; it has changed"),
        ({"source": f"{file}:0"}, f":0: the data file has {count} rows; it has changed"),
    ):
        with pytest.raises(UserError, match=message):
            heldout_prompts([replace(first, **change)], encoder)


def test_prompts_come_from_the_first_to_the_last_row_of_each_file(scored_run: Path) -> None:
    some = collect(scored_run).stages["align"].heldout[0]
    encoder = PromptEncoder(str(scored_run / "warmup" / "model"), 2048)
    files = [DataFile.open(f"{EMBEDDED_NAME}/{name}.jsonl", "test") for name in ("heldout", "align")]
    rows = [data.prompt_row(index) for data in files for index in (0, len(data) - 1)]
    records = [replace(some, source=row.source, teacher=row.teacher) for row in rows]
    assert [prompt.source for prompt in heldout_prompts(records, encoder)] == [row.source for row in rows]


def test_teachers_that_are_missing_or_malformed_are_left_out(scored_run: Path) -> None:
    run = collect(scored_run)
    records = run.stages["align"].heldout
    told = [replace(records[0], teacher="nothing"), replace(records[1], teacher=None)]
    stages = {"warmup": run.stages["warmup"], "align": replace(run.stages["align"], heldout=tuple(told))}
    bare = replace(run, stages=stages)
    gaps = score_run(bare, scored_run / "warmup" / "model", "scorer")
    assert gaps.problem == "Reward gaps under the scorer: not measured. No held-out row has a well-formed `teacher`."
    # "nothing" has a length all the same.
    (length,) = teacher_tokens(bare)
    assert length == len(PromptEncoder(EMBEDDED_NAME, 2048).response_ids("nothing"))


def test_scores_that_are_not_finite_stand_by_no_prompt() -> None:
    nan, infinite = float("nan"), float("inf")
    scores = Scores(
        teacher_PK=torch.tensor([[1.0, 2.0], [1.0, infinite], [1.0, 2.0], [1.0, 2.0]]),
        policy_PGK=torch.tensor([[[0.5, 0.25]], [[0.0, 0.0]], [[0.0, nan]], [[0.0, 0.0]]]),
        valid_PG=torch.tensor([[True], [True], [True], [False]]),
    )
    assert list(_by_source(scores, ["a", "b", "c", "d"])) == [("a", ResponseScores((0.5, 0.25), (1.0, 2.0)))]
