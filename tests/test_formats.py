"""Data as users hold them, through check-data, the data module and one update of the stage that reads them."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import Dataset
from PIL import Image

from prism_pl.runs.files import read_lines
from prism_pl.segments import parse_response
from tests.command_line import run

Row = dict[str, Any]


def sharegpt(row: Row, embedded: Path) -> Row:
    return {"messages": [*row["messages"], {"role": "assistant", "content": row["teacher"]}], "images": row["images"]}


def conversations(row: Row, embedded: Path) -> Row:
    names = {"system": "system", "user": "human"}
    turns = [{"from": names[turn["role"]], "value": turn["content"]} for turn in row["messages"]]
    return {"conversations": [*turns, {"from": "gpt", "value": row["teacher"]}], "images": row["images"]}


def typed(row: Row, embedded: Path) -> Row:
    system, user = row["messages"]
    text = {"type": "text", "text": user["content"].removeprefix("<image>")}
    said = {"role": "assistant", "content": [{"type": "text", "text": row["teacher"]}]}
    return {"messages": [
        {"role": "system", "content": [{"type": "text", "text": system["content"]}]},
        {"role": "user", "content": [{"type": "image", "image": row["images"][0]}, text]}, said,
    ]}  # fmt: skip


def with_bytes(row: Row, embedded: Path) -> Row:
    return sharegpt(row, embedded) | {"images": [{"bytes": (embedded / row["images"][0]).read_bytes(), "path": None}]}


def parts(text: str) -> tuple[str, str]:
    """A response as PRISM's files hold it: the caption, and think with answer."""
    return text.split("\n<think>")[0], text[text.index("<think>") :]


def released_rl(row: Row, embedded: Path) -> Row:
    caption, cot = parts(row["teacher"])
    return {
        "prompt": row["messages"], "images": with_bytes(row, embedded)["images"], "data_source": "mm_gad",
        "reward_model": {"style": "rule", "ground_truth": row["answer"]}, "teacher_response": row["teacher"],
        "teacher_caption": caption, "teacher_cot": cot,
    }  # fmt: skip


def plain(row: Row, embedded: Path) -> Row:
    question = row["messages"][1]["content"].removeprefix("<image>")
    return {"question": question, "image": row["images"][0], "answer": row["answer"]}


def warmup_pairs(row: Row, embedded: Path) -> Row:
    (caption, cot), question = parts(row["teacher"]), row["messages"][1]["content"].removeprefix("<image>")
    return {
        "prompt": question, "image": row["images"][0], "teacher_caption": caption, "teacher_cot": cot,
        "student_caption": caption.replace("Digits", "Numbers"), "student_cot": cot,
    }  # fmt: skip


def write(folder: Path, embedded: Path, name: str, convert: Callable[[Row, Path], Row]) -> dict[str, str]:
    """Sixteen of the embedded rows in another format; the data source to read them with."""
    lines = (embedded / "align.jsonl").read_text().splitlines()[:16]
    rows = [convert(json.loads(line), embedded) for line in lines]
    path = folder / name
    if path.suffix == ".parquet":
        Dataset.from_list(rows).to_parquet(path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"path": str(path), "image_root": "embedded/digits"}


def stage(folder: Path, name: str, data: Any) -> str:
    """The repository's configuration on other data, from the embedded start model, without evaluation."""
    content = yaml.safe_load((Path("configs") / f"{name}.yaml").read_text())
    content["data"]["init_args"] |= {"path": data, "batch_size": 8, "max_prompt_tokens": 300}
    rollout = [c for c in content["trainer"].pop("callbacks", []) if c["class_path"] == "RolloutCallback"]
    for callback in rollout:
        callback["init_args"] |= {"engine": {"class_path": "TransformersEngine"}}
        callback["init_args"]["sampling"] |= {"max_new_tokens": 4, "group_size": 2}
    content["trainer"] |= {"max_steps": 1, "logger": False, "enable_progress_bar": False, "callbacks": rollout}
    content["model"]["init_args"]["policy"]["path"] = "embedded/digits"
    if name in ("warmup", "align"):
        content["model"]["init_args"]["discriminator"] = {"class_path": "DedicatedExpertsDiscriminator"}
    if name == "warmup":
        content["data"]["init_args"] |= {"heldout_path": data, "num_heldout": 8}
        content["trainer"]["val_check_interval"] = 1
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def passes(folder: Path, config: str) -> list[Row]:
    """check-data finds nothing, and one update runs; its metrics."""
    assert run("check-data", "--config", config) == 0
    assert run("fit", "--config", config, "--run_dir", str(folder / "run")) == 0
    assert json.loads((folder / "run" / "finished.json").read_text())["updates"] == 1
    return read_lines(folder / "run" / "metrics.jsonl")


def test_a_weighted_mixture_of_every_format_of_demonstrations(tmp_path: Path, embedded: Path) -> None:
    formats = {"a.jsonl": sharegpt, "b.json": conversations, "c.jsonl": typed, "d.parquet": with_bytes}
    data = [write(tmp_path, embedded, name, convert) | {"weight": 0.5} for name, convert in formats.items()]
    lines = passes(tmp_path, stage(tmp_path, "sft", data))
    assert [line["step"] for line in lines if "sft/loss" in line] == [1]


def test_the_released_rl_file_aligns(tmp_path: Path, embedded: Path) -> None:
    data = write(tmp_path, embedded, "rl.parquet", released_rl)
    lines = passes(tmp_path, stage(tmp_path, "align", data))
    assert [line["step"] for line in lines if "discriminator/gradient_norm" in line] == [1]


def test_the_plain_form_trains_rlvr(tmp_path: Path, embedded: Path) -> None:
    lines = passes(tmp_path, stage(tmp_path, "rlvr", write(tmp_path, embedded, "plain.jsonl", plain)))
    assert [line["step"] for line in lines if "reward/total" in line] == [1]


def test_the_released_warmup_pairs_are_used_as_they_are(tmp_path: Path, embedded: Path) -> None:
    lines = passes(tmp_path, stage(tmp_path, "warmup", write(tmp_path, embedded, "pairs.jsonl", warmup_pairs)))
    assert [line["step"] for line in lines if "discriminator/gradient_norm" in line] == [1]
    assert not (tmp_path / "run" / "pairs.jsonl").exists()  # nothing was sampled
    # The reasoning sections are equal on both sides, so no discriminator can tell: half a pair each, by the tie rule.
    (heldout,) = [line for line in lines if "heldout/reward_gap/reasoning" in line]
    assert heldout["heldout/reward_gap/reasoning"] == pytest.approx(0, abs=1e-5)
    assert abs(heldout["heldout/reward_gap/perception"]) > 1e-4


def test_an_image_that_is_data_decodes_to_the_file(embedded: Path) -> None:
    row = json.loads((embedded / "align.jsonl").read_text().splitlines()[0])
    data = with_bytes(row, embedded)["images"][0]["bytes"]
    with Image.open(io.BytesIO(data)) as own, Image.open(embedded / row["images"][0]) as other:
        assert list(own.getdata()) == list(other.getdata())


def test_pairs_are_the_well_formed_responses_and_train_the_warmup(
    tmp_path: Path, embedded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 16 rows 10 were answered before, well-formed; the start model, untrained, answers the other 6 malformed."""
    data = write(tmp_path, embedded, "rows.jsonl", lambda row, _: row)
    teachers = [json.loads(line)["teacher"] for line in (embedded / "align.jsonl").read_text().splitlines()[:16]]
    out = tmp_path / "pairs"
    out.mkdir()
    before = "".join(json.dumps({"row": row, "responses": [teachers[row + 1]]}) + "\n" for row in range(10))
    (out / "responses.jsonl").write_text(before)
    command = ["pairs", "--config", "pairs.yaml", "--policy", "embedded/digits", "--path", json.dumps(data),
               "--out", str(out), "--sampling.max_new_tokens", "4", "--max_prompt_tokens", "300"]  # fmt: skip
    assert run(*command) == 0
    assert (out / "responses.jsonl").read_text().startswith(before)
    assert "16 prompts, 16 responses, 6 of them malformed\n10 pairs: " in capsys.readouterr().out
    pairs = Dataset.from_parquet(str(out / "pairs.parquet"))
    assert pairs["student_response"][:] == teachers[1:11]
    assert all(parse_response(text) for text in pairs["student_response"])
    lines = passes(
        tmp_path, stage(tmp_path, "warmup", {"path": str(out / "pairs.parquet"), "image_root": "embedded/digits"})
    )
    assert [line["step"] for line in lines if "discriminator/gradient_norm" in line] == [1]
    # Other settings do not mix with what is there.
    assert run(*command, "--seed", "1") == 2
    assert "holds responses with seed 0, not 1" in capsys.readouterr().err
