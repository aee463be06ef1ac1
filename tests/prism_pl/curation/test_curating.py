"""The whole command against a real server: rows kept, requests, tokens and cost, resumption, and where no key may be."""

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

import datamodules
from prism_pl.curation import curate
from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile, DataSource
from prism_pl.data.reading import SYSTEM_PROMPT
from prism_pl.data.row_checks import Requirements, usable_rows
from prism_pl.endpoint import EndpointOptions
from prism_pl.errors import UserError
from prism_pl.rewards import JudgeEndpoint, JudgeReward, MultipleChoiceReward
from prism_pl.runs.files import only_process, read_lines
from tests.command_line import captured
from tests.prism_pl.rewards.judge_server import JudgeServer

Options = Callable[..., EndpointOptions]
SECRET = b"0123456789"
PRICES = {"price_per_million_input_tokens": 2.0, "price_per_million_output_tokens": 10.0}
# The rows without a line verify at once.
SCRIPT = {
    (0, 0): ["wrong"],
    (0, 1): ["500", "html", "verified"],
    (1, 0): ["429", "malformed"],
    (1, 1): ["outside"],
    (1, 2): ["empty"],
    (2, 0): ["null"],
    (2, 1): ["cut", "length"],
    (2, 2): ["hang up", "verified"],
    (3, 0): ["echo"],
    (3, 1): ["no choices", "wrong"],
    (3, 2): ["wrong"],
    (4, 0): ["unmetered"],
}


def figures(output: str) -> dict[str, str]:
    """The table's figures by name."""
    lines = [line for line in output.splitlines() if line[:1].isalpha() and not line.startswith("kept")]
    return {line[:12].strip(): line[12:25].strip() for line in lines}


def rooted(path: Path, root: Path = Path("/")) -> DataSource:
    return DataSource(path=str(path), image_root=str(root))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def test_kept_rows_requests_tokens_and_cost(
    data_file: Path, out: Path, server: Any, options: Options, capfd: pytest.CaptureFixture[str]
) -> None:
    server.script, server.meeting = dict(SCRIPT), 3
    curate(rooted(data_file), str(out), options(concurrency=3, **PRICES), tries=3)
    # Row 0 at its second try, row 2 at its third; rows 1 and 3 never; the others at once.
    kept = [0, 2, 4, 5, 6, 7, 8, 9, 10, 11]
    tries = {0: 2, 1: 3, 2: 3, 3: 3} | dict.fromkeys(range(4, 12), 1)
    lines = read_lines(out / "tries.jsonl")
    assert Counter(line["row"] for line in lines) == tries
    assert {line["row"] for line in lines if line["verdict"] == "verified"} == set(kept)
    verdicts = {(line["row"], line["try"]): line["verdict"] for line in lines if line["row"] < 4}
    assert verdicts == {
        (0, 0): "wrong", (0, 1): "verified", (1, 0): "malformed", (1, 1): "malformed", (1, 2): "malformed",
        (2, 0): "malformed", (2, 1): "malformed", (2, 2): "verified", (3, 0): "malformed", (3, 1): "wrong",
        (3, 2): "wrong",
    }  # fmt: skip
    reasons = {(line["row"], line["try"]): line["reason"] for line in lines}
    assert reasons[0, 0] == "the answer is '-1'"
    assert reasons[2, 0] == "no text"
    assert reasons[2, 1] == "not the sections caption, think, answer, cut at the length limit"
    # A request an answer, and one more a fault.
    assert server.counts() == {
        (row, number): len(SCRIPT.get((row, number), ["verified"])) for row in tries for number in range(tries[row])
    }
    assert len(server.seen) == 19 + 6
    assert server.most_in_flight == 3
    # 1000 + row tokens in and 10 + try out; row 4's are unknown.
    tokens_in = sum((1000 + row) * number for row, number in tries.items()) - 1004
    tokens_out = (10 + 11) + 3 * (10 + 11 + 12) + 7 * 10
    assert (tokens_in, tokens_out) == (18_074, 190)
    captured = capfd.readouterr()
    table = figures(captured.out)
    assert table.pop("responses/s")
    assert table == {
        "rows": "12", "asked for": "12", "answers": "19", "verified": "10", "malformed": "6", "wrong answer": "3",
        "unreachable": "0", "tokens in": "18,074", "tokens out": "190", "not counted": "1",
        # 18,074 at 2 a million and 190 at 10 a million.
        "cost": "0.0380",
    }  # fmt: skip
    assert "25 requests in this run" in captured.out
    assert f"kept 10 of 12 rows: {out / 'curated.parquet'}" in captured.out
    # The endpoint echoed the key in bodies and in a teacher's text.
    assert "Bearer [key]" in (out / "tries.jsonl").read_text()
    assert server.authorizations == {"Bearer sk-test/0123456789+abcdef"}
    assert not [name for name, content in files(out).items() if SECRET in content]
    assert SECRET.decode() not in captured.out + captured.err


def test_the_file_serves_every_stage(
    data_file: Path, out: Path, server: Any, options: Options, encoder: PromptEncoder, rows: list[dict[str, Any]]
) -> None:
    server.script = {(0, 0): ["wrong"]}
    curate(rooted(data_file), str(out), options(), tries=1)
    curated, source = DataFile.open(rooted(out / "curated.parquet"), "path"), DataFile.open(rooted(data_file), "path")
    assert usable_rows(curated, encoder, Requirements(("teacher", "answer"), 256)).tolist() == list(range(11))
    for index in range(11):
        new, old = curated.prompt_row(index), source.prompt_row(index + 1)
        assert (new.messages, new.answer) == (old.messages, old.answer)
        assert [image.path.resolve() for image in new.images if image.path] == [Path(rows[index + 1]["images"][0])]
        # The file brought a teacher of its own; the one that was asked has taken its place.
        assert old.teacher is not None
        assert new.teacher == curated.demonstration(index).response != old.teacher
        assert curated.table[index]["pass_rate"] == rows[index + 1]["pass_rate"]
    sft = datamodules.DemonstrationDataModule(rooted(out / "curated.parquet"), "embedded/digits", 2, max_prompt_tokens=256)
    sft.setup("fit")
    (demonstration,) = sft.encode([3])
    assert demonstration.response_ids == encoder.response_ids(curated.demonstration(3).response)
    for needs in (["teacher"], ["answer", "teacher"]):
        align = datamodules.PromptDataModule(rooted(out / "curated.parquet"), "embedded/digits", 2, needs, 256)
        align.setup("fit")
        assert align.encode([3]).prompts[0].teacher == curated.demonstration(3).response


@pytest.mark.parametrize("inline", [False, True])
def test_rows_of_other_shapes(
    inline: bool, rows: list[dict[str, Any]], tmp_path: Path, server: Any, options: Options
) -> None:
    """Typed content that holds its images, plain questions, no system prompt, paths relative to the data file."""
    for index, row in enumerate(rows):
        Image.open(row["images"][0]).save(tmp_path / f"{index}.png")
        server.row_of_image[(tmp_path / f"{index}.png").read_bytes()] = index
    if inline:
        content = [[{"type": "image", "image": f"{i}.png"}, {"type": "text", "text": f"Add {i}."}] for i in range(3)]
        new = [{"messages": [{"role": "user", "content": parts}]} for parts in content]
    else:
        new = [{"question": f"Add {i}.", "image": {"path": f"{i}.png"}} for i in range(3)]
    answers = [{"answer": rows[i]["answer"]} for i in range(3)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(a | b) + "\n" for a, b in zip(new, answers, strict=True)))
    curate(str(tmp_path / "mine.jsonl"), str(tmp_path / "deep" / "out"), options())
    curated = DataFile.open(rooted(tmp_path / "deep" / "out" / "curated.parquet", tmp_path), "path")
    assert len(curated) == 3
    for index in range(3):
        row = curated.prompt_row(index)
        assert row.messages == (
            {"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": f"<image>Add {index}."},
        )  # fmt: skip
        assert [image.path.resolve() for image in row.images if image.path] == [tmp_path / f"{index}.png"]
        assert curated.demonstration(index).response == row.teacher
        assert rows[index]["answer"] in curated.demonstration(index).response


def test_only_the_hard_rows_are_paid_for(data_file: Path, out: Path, server: Any, options: Options) -> None:
    # Pass rates are 0, 1/8, 2/8, 3/8 in turn.
    curate(rooted(data_file), str(out), options(), low=0.0, high=0.0)
    assert sorted(server.counts()) == [(0, 0), (4, 0), (8, 0)]
    assert DataFile.open(rooted(out / "curated.parquet"), "path").table["pass_rate"][:] == [0.0] * 3
    # Another choice of rows asks for the new ones alone, and the file holds the choice.
    curate(rooted(data_file), str(out), options(), hardest=4)
    assert sorted(server.counts().items()) == [((row, 0), 1) for row in (0, 1, 4, 8)]
    assert DataFile.open(rooted(out / "curated.parquet"), "path").table["pass_rate"][:] == [0.0, 0.125, 0.0, 0.0]
    curate(rooted(data_file), str(out), options(), limit=1)
    assert len(server.seen) == 4
    assert len(DataFile.open(rooted(out / "curated.parquet"), "path")) == 1


def test_a_rerun_asks_for_nothing_and_more_tries_for_what_is_missing(
    data_file: Path, out: Path, server: Any, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script = {(row, number): ["wrong"] for row in (0, 1) for number in range(3)} | {(1, 2): ["verified"]}
    curate(rooted(data_file), str(out), options(), tries=2)
    before, requests = files(out), len(server.seen)
    assert requests == 10 + 2 * 2
    monkeypatch.delenv("TEACHER_KEY")
    curate(rooted(data_file), str(out), options(base_url="https://api.example.com/v1"), tries=2)
    assert files(out) == before
    assert len(server.seen) == requests
    # A third try for the two that are not verified; the one that comes out right joins the file.
    curate(rooted(data_file), str(out), options(), tries=3)
    assert sorted(server.seen[requests:]) == [(0, 2), (1, 2)]
    assert len(DataFile.open(rooted(out / "curated.parquet"), "path")) == 11


@pytest.mark.parametrize(
    "change",
    [{"model": "other"}, {"temperature": 0.5}, {"max_tokens": 7}, {"extra": {"top_p": 0.5}}, {"seed": 1}, {"path": "x"}],
)
def test_answers_of_another_teacher_are_not_mixed(
    change: dict[str, Any], data_file: Path, out: Path, server: Any, options: Options
) -> None:
    curate(rooted(data_file), str(out), options(), limit=1)
    (name,) = change
    path = data_file.rename(data_file.with_name("x.jsonl")) if name == "path" else data_file
    endpoint = options(**(change if name not in ("seed", "path") else {}))
    with pytest.raises(UserError, match=f"out holds a teacher's responses with {name} .*, not .*Give another folder"):
        curate(rooted(path), str(out), endpoint, limit=1, seed=change.get("seed", 0))
    assert len(server.seen) == 1


def test_rows_that_the_endpoint_fails_stay_open(
    data_file: Path, out: Path, server: Any, options: Options, capfd: pytest.CaptureFixture[str]
) -> None:
    server.script = {(0, 0): ["wrong"], (0, 1): ["500"], (3, 0): ["400"]}
    with pytest.raises(UserError, match=r"left 2 of 12 rows without an answer; .*all.jsonl:1: 500: .*same command"):
        curate(rooted(data_file), str(out), options(max_retries=2), tries=2)
    captured = capfd.readouterr()
    table = figures(captured.out)
    assert (table["unreachable"], table["answers"], table["verified"], table["wrong answer"]) == ("2", "11", "10", "1")
    assert SECRET.decode() not in captured.out + captured.err
    # What there is can be used already.
    assert len(DataFile.open(rooted(out / "curated.parquet"), "path")) == 10
    assert server.counts()[0, 1] == 3
    assert server.counts()[3, 0] == 1
    server.script, requests = {}, len(server.seen)
    curate(rooted(data_file), str(out), options(), tries=2)
    # The try that was spent stays spent, the failures spent none.
    assert sorted(server.seen[requests:]) == [(0, 1), (3, 0)]
    assert figures(capfd.readouterr().out)["unreachable"] == "0"
    assert len(DataFile.open(rooted(out / "curated.parquet"), "path")) == 12


def test_a_dead_endpoint_is_given_up(
    data_file: Path, rows: list[dict[str, Any]], out: Path, server: Any, options: Options
) -> None:
    data_file.write_text("".join(json.dumps(rows[index % 12]) + "\n" for index in range(60)))
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"left 60 of 60 rows .* ConnectError: .*given up after 20 such rows in succession"):
        curate(rooted(data_file), str(out), options(max_retries=0, concurrency=2))
    assert not (out / "curated.parquet").exists()


def test_a_mistake_stops_the_command_and_loses_no_answer(
    data_file: Path, out: Path, server: Any, options: Options, capfd: pytest.CaptureFixture[str]
) -> None:
    server.script = {(5, 0): ["401"]}
    with pytest.raises(UserError, match="answers the model 'teacher' with 401") as error:
        curate(rooted(data_file), str(out), options(concurrency=1))
    assert SECRET.decode() not in f"{error.value}{capfd.readouterr()}"
    assert not [name for name, content in files(out).items() if SECRET in content]
    assert [line["row"] for line in read_lines(out / "tries.jsonl")] == [0, 1, 2, 3, 4]
    server.script = {}
    curate(rooted(data_file), str(out), options())
    assert len(server.seen) == 12 + 1


def test_no_row_is_asked_for_before_all_are_sound(
    data_file: Path, rows: list[dict[str, Any]], out: Path, server: Any, options: Options
) -> None:
    defects = [
        ({"answer": None}, "all.jsonl:12: the row has no `answer`"),
        ({"images": ["none.png"]}, "all.jsonl:12: the image .* does not exist"),
        ({"images": []}, "all.jsonl:12: 1 <image> marks in the messages, but 0 images"),
    ]
    for defect, message in defects:
        data_file.write_text("".join(json.dumps(row) + "\n" for row in (*rows[:11], rows[11] | defect)))
        with pytest.raises(UserError, match=message):
            curate(rooted(data_file), str(out), options())
    assert not server.seen
    with pytest.raises(UserError, match="tries: at least 1 is needed"):
        curate(rooted(data_file), str(out), options(), tries=0)


def test_nothing_verified_leaves_no_file(
    data_file: Path, out: Path, server: Any, options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = {(0, 0): ["wrong"]}
    curate(rooted(data_file), str(out), options(), tries=1, limit=2)
    assert (out / "curated.parquet").exists()
    curate(rooted(data_file), str(out), options(), tries=1, limit=1)
    assert not (out / "curated.parquet").exists()
    assert "kept 0 of 1 rows, no file is written" in capsys.readouterr().out


def test_a_true_answer_that_the_reward_cannot_read_names_its_row(
    data_file: Path, out: Path, server: Any, options: Options
) -> None:
    with pytest.raises(UserError, match=r"all.jsonl:1: "):
        curate(rooted(data_file), str(out), options(), reward=MultipleChoiceReward(), limit=1)


def test_two_processes_never_share_a_folder(data_file: Path, out: Path, server: Any, options: Options) -> None:
    with only_process(out), pytest.raises(UserError, match="another process is at work"):
        curate(rooted(data_file), str(out), options())
    assert not server.seen


def test_requests_keep_to_the_rate(data_file: Path, out: Path, server: Any, options: Options) -> None:
    # Eight a second: the twelfth request leaves eleven gaps after the first, with however many in flight.
    start = time.monotonic()
    curate(rooted(data_file), str(out), options(requests_per_minute=480, concurrency=12))
    assert time.monotonic() - start >= 11 / 8
    assert len(server.seen) == 12


def test_the_command_line(
    data_file: Path, out: Path, server: Any, options: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    options()  # the key is in the environment

    def run(*arguments: str) -> tuple[int, str]:
        source = json.dumps({"path": str(data_file), "image_root": "/"})
        common = ["--path", source, "--out", str(out), "--endpoint.api_key_env", "TEACHER_KEY"]
        code, printed, errors = captured(capsys, "curate", "--config", "curate.yaml", *common, *arguments)
        return code, printed + errors

    at = f"--endpoint.base_url={server.url}"
    # All three that are asked: an answer to one would be on disk, and would fix the settings, if it came before the 404.
    server.script = {(row, 0): ["404"] for row in (0, 4, 8)}
    code, text = run(at)
    assert code == 2
    assert "endpoint.model" in text
    assert SECRET.decode() not in text
    server.script = {}
    # Nothing was answered, so the settings are still free. The shipped configuration asks for the rows of pass rate zero.
    code, text = run(at, "--endpoint.extra", "{top_p: 0.9}")
    assert code == 0, text
    assert "kept 3 of 3 rows" in text
    assert sorted(server.counts()) == [(0, 0), (4, 0), (8, 0)]
    assert (server.bodies[-1]["top_p"], server.bodies[-1]["model"]) == (0.9, "Qwen/Qwen3-VL-32B-Instruct")
    code, text = run("--endpoint.base_url=http://me:hunter2@localhost/v1")
    assert code == 2
    assert "endpoint.base_url" in text
    assert "hunter2" not in text


def test_the_shipped_configuration_names_every_option() -> None:
    shipped = yaml.safe_load(Path("configs/curate.yaml").read_text())
    assert "reward" not in shipped
    assert set(shipped["endpoint"]) <= set(EndpointOptions.__dataclass_fields__)


def test_a_judges_counts_are_in_the_closing_lines(
    data_file: Path, out: Path, server: Any, options: Options, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The teacher hedges on two rows, which only a judge can make something of.
    for row, said in ((0, "either 3 or 4"), (1, "either 5 or 6")):
        server.rows[row] = server.rows[row] | {"answer": said}
    judge = JudgeServer()
    judge.script = {"either 3 or 4": ["right"]}
    with judge.serving():
        reward = JudgeReward(
            endpoint=JudgeEndpoint(base_url=judge.url, model="judge"), cache=str(tmp_path / "judge.jsonl"), processes=1
        )
        curate(rooted(data_file), str(out), options(), tries=1, limit=3, reward=reward)
    printed = capsys.readouterr().out
    assert "accuracy: 2 asked, 0 cached, 1 raised, 0 lowered, 0 failed\n\nkept 2 of 3 rows" in printed
    assert json.loads((out / "reward_counts.json").read_text())["counts"]["asked"] == 2
    curate(rooted(data_file), str(out.parent / "plain"), options(), tries=1, limit=3)
    assert not (out.parent / "plain" / "reward_counts.json").exists()
    assert "asked," not in capsys.readouterr().out
