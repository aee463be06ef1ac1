"""The report against figures worked out by hand, on a run folder written by hand."""

import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile
from prism_pl.discriminators import DedicatedExpertsDiscriminator, load_scorer
from prism_pl.embedded import EMBEDDED_NAME, embedded_folder
from prism_pl.errors import UserError
from prism_pl.game import arrange, make_scoring_batch, score_single_process
from prism_pl.report import build_report
from prism_pl.report.collect import Series, collect
from prism_pl.report.distribution import Proxy, make_proxies
from prism_pl.report.samples import choose
from prism_pl.report.scores import heldout_prompts, score_run, teacher_tokens
from prism_pl.report.table import Share, format_gap, make_rows, plain_table

SCRIPT = "<script>alert('&')</script>"


def response(items: int, steps: int, answer: str, said: str = "Seen.") -> str:
    caption = "\n".join(f"- {said}" for _ in range(items))
    think = "\n".join("A step." for _ in range(steps))
    return f"<caption>\n{caption}\n</caption>\n<think>\n{think}\n</think>\n<answer>\n{answer}\n</answer>"


def record(index: int, image: Path, sampled: str, greedy_correct: bool, sampled_correct: bool, tokens: int) -> dict:
    return {
        "source": f"gone.jsonl:{index + 1}",
        "question": "Sum?",
        "image_root": "gone",
        "image": str(image),
        "answer": "7",
        "teacher": response(3, 3, "7"),
        "greedy": response(1, 1, "7" if greedy_correct else "1"),
        "greedy_correct": float(greedy_correct),
        "sampled": sampled,
        "sampled_correct": float(sampled_correct),
        "tokens": tokens,
    }


def write_stage(folder: Path, lines: list[dict], heldout: list[dict] | None = None, updates: int = 4) -> None:
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if heldout is not None:
        (folder / "heldout.jsonl").write_text("".join(json.dumps(line) + "\n" for line in heldout))
    (folder / "finished.json").write_text(json.dumps({"updates": updates, "commit": "abc123", "identity": "i"}))


def fake_run(folder: Path) -> Path:
    """Ten prompts a stage. SFT is terse and mostly wrong, alignment copies the teacher's shape, RLVR is right."""
    image = folder / "digits.png"
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 4), "red").save(image)
    experts = ("perception", "reasoning")
    sft = [record(i, image, response(1, 1, "1"), i < 4, False, 10) for i in range(9)]
    sft.append(record(9, image, f"{SCRIPT} no sections", False, False, 30))
    align = [record(i, image, response(3 if i < 8 else 1, 3, "7"), i < 5, i < 5, 20) for i in range(10)]
    rlvr = [record(i, image, response(3, 3, "7", said=SCRIPT), True, True, 20) for i in range(10)]
    write_stage(folder / "sft", [{"step": 1, "sft/loss": 2.0}, {"step": 4, "heldout/accuracy": 0.4}], sft)
    warmup = [{"step": s, **{f"accuracy/{e}": 0.5 + s / 10 for e in experts}} for s in range(1, 5)]
    write_stage(folder / "warmup", [*warmup, {"step": 4, **{f"heldout/accuracy/{e}": 0.9 for e in experts}}])
    steps = [
        {"step": s, **{f"{m}/{e}": 1 / s for e in experts for m in ("reward_gap", "accuracy")}, "seconds/rollout": 2.0}
        for s in range(1, 5)
    ]
    ends = {f"heldout/discriminator/{m}/{e}": 0.3 for e in experts for m in ("reward_gap", "accuracy")}
    probes = [{"step": 1, "rollout/probe_gap": 2e-6}, {"step": 3, "rollout/probe_gap": 7.1e-6}]
    write_stage(folder / "align", [*steps, *probes, {"step": 4, **ends}], align)
    parts = {"reward/accuracy": 0.5, "reward/format": 1.0}
    rewards = [{"step": s, "reward/total": s / 100, **parts} for s in range(1, 101)]
    write_stage(folder / "rlvr", [*rewards, {"step": 100, "heldout/accuracy": 1.0, "seconds/sync": 0.1}], rlvr)
    return folder


def test_wilson_interval_by_hand() -> None:
    # p = 0.8, n = 10, z^2 = 3.841459: centre (0.8 + 0.19207295) / 1.3841459 = 0.71674,
    # half 1.959964 * sqrt(0.016 + 0.009603648) / 1.3841459 = 0.22657.
    low, high = Share(8, 10).interval
    assert (low, high) == (pytest.approx(0.71674 - 0.22657, abs=2e-5), pytest.approx(0.71674 + 0.22657, abs=2e-5))
    # With no hit the upper bound is z^2 / (n + z^2).
    assert Share(0, 10).interval == (0.0, pytest.approx(3.841459 / 13.841459, abs=1e-6))
    assert Share(10, 10).interval == (pytest.approx(10 / 13.841459, abs=1e-6), 1.0)


def test_bins_of_several_values() -> None:
    proxy = Proxy("Length", "tokens", {"teacher": (0, 3, 4, 9), "sft": (4, 5, 6, 7)}, width=4)
    assert proxy.shares("teacher") == {0: 0.5, 4: 0.25, 8: 0.25}
    assert proxy.distance("sft") == pytest.approx((0.5 + 0.75 + 0.25) / 2)


def test_the_last_value_of_a_step_counts(tmp_path: Path) -> None:
    lines = [{"step": 2, "a": 1.0}, {"step": 1, "a": 3.0}, {"step": 2, "b": 5.0}, {"step": 2, "a": 2.0}]
    write_stage(tmp_path / "sft", lines, [])
    stage = collect(tmp_path).stages["sft"]
    assert stage.series("a") == Series((1, 2), (3.0, 2.0))
    assert not stage.series("c")


def test_table_of_the_fake_run(tmp_path: Path) -> None:
    run = collect(fake_run(tmp_path))
    assert run.missing == ()
    teacher, sft, align, rlvr = make_rows(run, (), [])
    assert (teacher.name, teacher.accuracy, teacher.format) == ("teacher", Share(10, 10), Share(10, 10))
    assert (teacher.sampled, teacher.tokens) == (None, None)
    assert (sft.accuracy, sft.sampled, sft.format, sft.tokens) == (Share(4, 10), Share(0, 10), Share(9, 10), 12.0)
    assert (align.accuracy, align.sampled, align.format) == (Share(5, 10), Share(5, 10), Share(10, 10))
    assert (rlvr.accuracy, rlvr.tokens) == (Share(10, 10), 20.0)


def test_shape_proxies_of_the_fake_run(tmp_path: Path) -> None:
    captions, steps, tokens = make_proxies(collect(fake_run(tmp_path)), ())
    # Nine well-formed SFT captions of one item, all teacher's of three; alignment has eight of three and two of one.
    assert captions.values["sft"] == (1,) * 9
    assert captions.distance("sft") == 1
    assert captions.distance("align") == pytest.approx(0.2)
    assert steps.distance("rlvr") == 0
    assert tokens.distance("sft") is None, "the teacher has no tokens without a tokenizer"


def test_page_is_whole_and_escapes_model_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = build_report(fake_run(tmp_path))
    html = page.read_text(encoding="utf-8")
    assert page == tmp_path / "report.html"
    assert not (tmp_path / ".report.html").exists()
    assert "<script" not in html
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;" in html
    assert "http://" not in html
    assert "https://" not in html
    assert html.count("data:image/svg+xml") == 12
    assert html.count("data:image/png") == 6
    assert "abc123" in html
    assert "7.1e-06 in alignment (2 probes)" in html
    assert "not measured" in html, "there is no discriminator in this run"
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["SFT", "10", "0.400", "[0.168,", "0.687]", "0.000", "0.900", "12.0", "-", "-"]


def test_missing_stages_and_files_are_named(tmp_path: Path) -> None:
    fake_run(tmp_path)
    (tmp_path / "rlvr").rename(tmp_path / "elsewhere")
    (tmp_path / "align" / "heldout.jsonl").unlink()
    (tmp_path / "warmup" / "finished.json").unlink()
    html = build_report(tmp_path).read_text(encoding="utf-8")
    assert "Stage rlvr is missing" in html
    assert "Stage align: no held-out responses" in html
    assert "Stage warmup is not finished" in html
    assert "warm-up unfinished" in html
    assert [row.name for row in make_rows(collect(tmp_path), (), [])] == ["teacher", "sft"]


def test_a_folder_without_a_run_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no stage"):
        build_report(tmp_path)


def test_mended_prompts_come_first_and_changes_are_counted(tmp_path: Path) -> None:
    folder = fake_run(tmp_path)
    rows = [record(i, tmp_path / "digits.png", response(1, 1, "7"), True, i in (0, 8), 10) for i in range(10)]
    (folder / "sft" / "heldout.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [record(i, tmp_path / "digits.png", response(1, 1, "7"), True, i in (6, 8), 10) for i in range(10)]
    (folder / "rlvr" / "heldout.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    choice = choose(collect(folder))
    assert choice is not None
    assert (choice.mended, choice.spoilt, choice.total) == (1, 1, 10)
    assert [shown.prompt.source for shown in choice.shown][:2] == ["gone.jsonl:7", "gone.jsonl:1"]
    assert set(choice.shown[0].responses) == {"sft", "align", "rlvr"}


@pytest.fixture(scope="module")
def scored_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four real rows: SFT says what row 0's teacher says, alignment what each row's own does, RLVR is malformed."""
    folder = tmp_path_factory.mktemp("scored")
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
                "image_root": EMBEDDED_NAME,
                "teacher": row.teacher,
            }
            for index, row in enumerate(rows)
        ]
        # SFT was not asked the last prompt.
        write_stage(folder / name, [], records[:3] if name == "sft" else records)
    return folder


def test_gaps_equal_those_of_each_stage_judged_alone(scored_run: Path) -> None:
    run = collect(scored_run)
    gaps = score_run(run, scored_run / "warmup" / "model", "warm-up discriminator")
    assert gaps.problem is None
    # Alone, and one prompt at a time: neither the other stages' segments nor padding may change a score.
    discriminator = load_scorer(str(scored_run / "warmup" / "model"), "test")
    encoder = PromptEncoder(str(scored_run / "warmup" / "model"), 2048)
    margins = []
    for said in run.stages["sft"].heldout:
        shown = heldout_prompts([said], encoder)
        scoring = make_scoring_batch(shown, [[said.sampled]], encoder.tokenizer, discriminator.reading)
        margins.append(arrange(score_single_process(discriminator, scoring, 8192), scoring).margin_MK[0])
    margin_MK = torch.stack(margins).double()
    sft = gaps.gaps["sft"]
    assert [gap.mean for gap in sft] == pytest.approx(margin_MK.mean(0).tolist(), abs=1e-5)
    assert [gap.half for gap in sft] == pytest.approx((1.959964 * margin_MK.std(0) / math.sqrt(3)).tolist(), abs=1e-5)
    assert sft[0].pairs == 3
    assert max(abs(gap.mean) for gap in sft) > 1e-4, "other captions than the teacher's must score differently"
    assert [gap.mean for gap in gaps.gaps["align"]] == pytest.approx([0, 0], abs=1e-6)
    assert gaps.gaps["rlvr"] == ()


def test_judged_table_and_page(scored_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
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
    run = collect(scored_run)
    first = run.stages["align"].heldout[0]
    encoder = PromptEncoder(str(scored_run / "warmup" / "model"), 2048)
    for change in ({"teacher": response(1, 1, "1")}, {"source": first.source.rpartition(":")[0] + ":99999"}):
        altered = type(first)(**{**{name: getattr(first, name) for name in type(first).__dataclass_fields__}, **change})
        with pytest.raises(UserError, match="changed"):
            heldout_prompts([altered], encoder)
