"""The whole command: on the tiny model against a run's own evaluation, killed and continued, and at an endpoint."""

import csv
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from prism_pl.command_line.catalogue import find_command
from prism_pl.command_line.configurations import with_config_folder
from prism_pl.command_line.front import parse
from prism_pl.commands.evaluate import evaluate
from prism_pl.data.files import DataSource
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.endpoint import EndpointOptions
from prism_pl.errors import UserError
from prism_pl.evaluation.subjects import EvaluationSet
from prism_pl.rewards import AnswerReward, FormatReward, JudgeEndpoint, JudgeReward, Reward
from prism_pl.runs.files import read_lines
from tests.command_line import captured, run, start
from tests.modules.scripted import ScriptedEngine, WordyEngine
from tests.prism_pl.rewards.judge_server import JudgeServer
from tests.responses import MALFORMED, respond
from tests.scripted_server import ScriptedServer, chat_completion

# The start model says nothing that is right. This finds some of it right, and some half right.
REWARD = """
def score(inputs):
    return [len(set(i["response"])) % 3 / 2 for i in inputs]
"""


@pytest.fixture
def reward(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "mine.py").write_text(REWARD)
    return {"class_path": "PythonReward", "init_args": {"function": f"{tmp_path}/mine.py:score"}}


def table(out: Path) -> dict[str, Any]:
    return json.loads((out / "table.json").read_text())


def means(out: Path, model: str, name: str = "test") -> dict[str, float]:
    (result,) = (own for own in table(out)["results"] if (own["model"], own["set"]) == (model, name))
    return {figure: value["mean"] for figure, value in result["figures"].items()}


def test_the_figures_are_those_of_a_runs_own_evaluation(
    tmp_path: Path, embedded: Path, reward: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Same model, prompts, sampling and seed: the same responses to the letter, in calls of other sizes."""
    content = yaml.safe_load(Path("configs/sft.yaml").read_text())
    callback = {
        "path": f"{EMBEDDED_NAME}/test.jsonl", "every": 0, "max_new_tokens": 12, "num_final": 70, "num_samples": 4,
        "max_prompt_tokens": 64, "engine": {"class_path": "TransformersEngine"}, "reward": reward,
    }  # fmt: skip
    content["trainer"] |= {
        "callbacks": [{"class_path": "EvaluationCallback", "init_args": callback}], "max_steps": 1, "logger": False,
    }  # fmt: skip
    content["model"]["init_args"]["policy"] = {"path": EMBEDDED_NAME}
    (tmp_path / "sft.yaml").write_text(yaml.safe_dump(content))
    stage = tmp_path / "run" / "sft"
    assert run("fit", "--config", str(tmp_path / "sft.yaml"), "--run_dir", str(stage), "--seed_everything", "3") == 0
    (tmp_path / "eval.yaml").write_text(
        yaml.safe_dump(
            {
                "models": [str(tmp_path / "run")],
                "sets": [{"path": f"{EMBEDDED_NAME}/test.jsonl", "num_prompts": 70}],
                "engine": {"class_path": "TransformersEngine", "init_args": {"batch_size": 48}},
                "reward": reward,
                "max_new_tokens": 12,
                "num_samples": 4,
                "top_p": 1.0,
                "seeds": [3],
                "budgets": [4, 12],
                "max_prompt_tokens": 64,
                "out": str(tmp_path / "out"),
            }
        )
    )
    capsys.readouterr()
    code, output, errors = captured(capsys, "evaluate", "--config", str(tmp_path / "eval.yaml"))
    assert code == 0, errors
    theirs = [json.loads(line) for line in (stage / "heldout.jsonl").read_text().splitlines()]
    assert len(theirs) == 70
    place = tmp_path / "out" / "test" / "run" / "sft"
    ours, sampled = read_lines(place / "greedy.jsonl"), read_lines(place / "seed3.jsonl")
    for their, our, samples in zip(theirs, ours, sampled, strict=True):
        assert (our["source"], our["responses"][0]["text"]) == (their["source"], their["greedy"])
        assert our["responses"][0]["score"] == their["greedy_correct"]
        assert samples["responses"][0]["text"] == their["sampled"]
        assert [one["score"] for one in samples["responses"]] == their["samples_correct"]
    logged = {key: value for line in read_lines(stage / "metrics.jsonl") for key, value in line.items()}
    found = means(tmp_path / "out", "run/sft")
    pairs = {
        "greedy": "accuracy", "avg@4": "accuracy_sampled", "pass@2": "pass@2", "pass@4": "pass@4", "format": "format_rate",
        "tokens": "tokens",
    }  # fmt: skip
    for ours_name, name in pairs.items():
        assert found[ours_name] == pytest.approx(logged[f"heldout/{name}"], abs=1e-6), name
    # Something is to be seen: some is right and some is not, and the whole length is no budget.
    assert 0 < found["avg@4"] < found["pass@2"] < found["pass@4"] <= 1
    assert found["within_12"] == found["avg@4"]
    assert f"{found['avg@4']:.3f} [" in output
    rows = list(csv.DictReader((tmp_path / "out" / "table.csv").read_text().splitlines()))
    assert {row["figure"]: float(row["value"]) for row in rows} == found


def test_a_killed_evaluation_goes_on(tmp_path: Path, embedded: Path, reward: dict[str, Any]) -> None:
    def config(name: str) -> str:
        content = {
            "models": [EMBEDDED_NAME],
            "sets": [{"path": f"{EMBEDDED_NAME}/test.jsonl", "num_prompts": 150}],
            "engine": {"class_path": "TransformersEngine"},
            "reward": reward, "max_new_tokens": 10, "num_samples": 2, "seeds": [0, 1], "max_prompt_tokens": 64,
            "out": str(tmp_path / name),
        }  # fmt: skip
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(content))
        return str(tmp_path / f"{name}.yaml")

    place = tmp_path / "killed" / "test" / EMBEDDED_NAME
    process = start("evaluate", "--config", config("killed"))
    while not (place / "greedy.jsonl").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    before = (place / "greedy.jsonl").read_bytes()
    kept = before[: before.rfind(b"\n") + 1]
    # It was killed amid its work: some is there, the last samples are not.
    assert kept
    assert not (place / "seed1.jsonl").exists()
    assert not (tmp_path / "killed" / "table.json").exists()
    assert run("evaluate", "--config", config("killed")) == 0
    assert run("evaluate", "--config", config("whole")) == 0
    assert (place / "greedy.jsonl").read_bytes().startswith(kept)
    for name in ("test/embedded/digits/greedy.jsonl", "test/embedded/digits/seed0.jsonl", "table.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    # Other seeds are other samples; all of them make the figures.
    seeds = table(tmp_path / "whole")["results"][0]["seeds"]
    assert seeds["0"] != seeds["1"]
    assert means(tmp_path / "whole", EMBEDDED_NAME)["avg@4"] == pytest.approx((seeds["0"] + seeds["1"]) / 2)


def test_another_sampling_is_refused_and_more_of_the_same_goes_on(
    tmp_path: Path, embedded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def ask(prompts: int, **changes: Any) -> None:
        own = EvaluationSet(path=f"{EMBEDDED_NAME}/test.jsonl", num_prompts=prompts)
        options = {"num_samples": 2, "max_new_tokens": 60, "models": [EMBEDDED_NAME], "engine": ScriptedEngine()}
        evaluate([own], str(tmp_path / "out"), **(options | changes))

    ask(4)
    first = (tmp_path / "out" / "test" / EMBEDDED_NAME / "seed0.jsonl").read_text()
    ask(6, seeds=[0, 5])
    assert (tmp_path / "out" / "test" / EMBEDDED_NAME / "seed0.jsonl").read_text().startswith(first)
    (result,) = table(tmp_path / "out")["results"]
    assert (result["questions"], list(result["seeds"]), "avg@4" in result["figures"]) == (6, ["0", "5"], True)
    # Budgets that nobody gave: an eighth, a quarter and half of 60.
    assert [name for name in result["figures"] if name.startswith("within")] == ["within_7", "within_15", "within_30"]
    for changes, message in (
        ({"top_p": 0.9}, "holds responses with top_p 0.7, not 0.9"),
        ({"num_samples": 3}, "holds responses with group_size 2, not 3"),
        ({"max_new_tokens": 61}, "holds responses with max_new_tokens 60, not 61"),
        ({"seeds": [1, 1]}, "seeds: two have the value '1'"),
        ({"greedy": False, "num_samples": 0}, "nothing would be sampled"),
        ({"engine": None}, "`models` need one"),
        ({"models": []}, "there is nothing to evaluate"),
        ({"reference": "embedded/digit"}, "Did you mean embedded/digits?"),
    ):
        with pytest.raises(UserError, match=message.replace("?", r"\?")):
            ask(4, **changes)


class ModelServer(ScriptedServer):
    """A question and a temperature; whatever is asked, the answer is 2."""

    def identify(self, body: dict[str, Any]) -> tuple[str, float]:
        return body["messages"][-1]["content"], body["temperature"]

    def completion(self, act: str, key: Any, echo: str) -> dict[str, Any] | None:
        texts = {"fine": respond(answer="2"), "malformed": MALFORMED, "cut": MALFORMED}
        if act not in texts:
            return None
        return chat_completion(texts[act], "length" if act == "cut" else "stop", 5, 40 if act == "cut" else 20)


@pytest.fixture
def server() -> Iterator[ModelServer]:
    server = ModelServer()
    with server.serving():
        yield server


def test_an_endpoint_that_fails_questions_fails_the_command_and_is_asked_again(
    tmp_path: Path, server: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"question": question, "answer": answer} for question, answer in (("1+1?", "2"), ("1+2?", "3"), ("4-2?", "2"))]
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    # A refused request; the question's first sample is there by then.
    server.script = {("4-2?", 1.0): ["fine", "400", "fine"], ("1+1?", 1.0): ["cut", "fine"], ("1+2?", 0.0): ["malformed"]}
    endpoint = EndpointOptions(base_url=server.url, model="remote", first_wait_s=0.001, extra={"top_k": 20})

    def ask() -> None:
        evaluate(
            [EvaluationSet(path=DataSource(path=str(tmp_path / "sums.jsonl")), name="MathVision")], str(tmp_path / "out"),
            max_new_tokens=64, num_samples=2, budgets=[20], endpoints=[endpoint],
        )  # fmt: skip

    with pytest.raises(UserError, match=r"1 questions got no answer .* remote, \S+sums.jsonl:3: refused with 400"):
        ask()
    (result,) = table(tmp_path / "out")["results"]
    assert (result["questions"], result["failed"]) == (2, 1)
    asked = len(server.seen)
    ask()
    # Only the missing question, with all its samples.
    assert server.seen[asked:] == [("4-2?", 1.0)] * 2
    (result,) = table(tmp_path / "out")["results"]
    assert (result["questions"], result["failed"]) == (3, 0)
    found = means(tmp_path / "out", "remote", "MathVision")
    # Greedy: right, malformed, right. Samples: one cut and one right, none, two right.
    assert found["greedy"] == pytest.approx(2 / 3)
    assert (found["greedy_format"], found["avg@2"]) == (pytest.approx(2 / 3), pytest.approx((0.5 + 0 + 1) / 3))
    assert (found["pass@2"], found["truncated"]) == (pytest.approx(2 / 3), pytest.approx(1 / 6))
    # Five of 20 tokens, one of 40; all that is right is within 20.
    assert (found["tokens"], found["within_20"]) == (pytest.approx(140 / 6), pytest.approx(found["avg@2"]))
    # How it was asked: the command's sampling, beside what the endpoint's own options add.
    sampled = [body for body in server.bodies if body["temperature"] == 1.0]
    assert {(body["top_p"], body["max_tokens"], body["top_k"]) for body in server.bodies} == {(1.0, 64, 20), (0.7, 64, 20)}
    assert len({body["seed"] for body in sampled}) == 6
    assert "published" in capsys.readouterr().out


def test_a_judge_is_told_apart_and_changes_verdicts_both_ways(
    tmp_path: Path, embedded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = JudgeServer()

    def ask(out: str, reward: Reward, act: str) -> None:
        server.usual = (act,)
        endpoint = JudgeEndpoint(base_url=server.url, model="judge", first_wait_s=0.001)
        judge = JudgeReward(endpoint=endpoint, cache=str(tmp_path / f"{out}.jsonl"), processes=1)
        evaluate(
            [EvaluationSet(path=f"{EMBEDDED_NAME}/test.jsonl", num_prompts=2)], str(tmp_path / out), max_new_tokens=60,
            models=[EMBEDDED_NAME], engine=WordyEngine(), reward=reward, judge=judge,
        )  # fmt: skip

    def both(out: str) -> tuple[dict[str, float], dict[str, float], int, int]:
        (result,) = table(tmp_path / out)["results"]
        judged = result["judged"]
        second = {name: value["mean"] for name, value in judged["figures"].items()}
        return means(tmp_path / out, EMBEDDED_NAME), second, judged["raised"], judged["lowered"]

    with server.serving():
        # Words that no rule reads: wrong by the rules. Of four samples one is malformed, whatever a judge would say.
        ask("raised", AnswerReward(processes=1), "right")
        first, second, raised, lowered = both("raised")
        assert (first["greedy"], first["avg@4"], second["greedy"], second["avg@4"]) == (0, 0, 1, 0.75)
        assert (raised, lowered) == (2 + 6, 0)
        # A greedy response is one of the samples here, and is asked about once: three answers a question.
        assert len(server.seen) == 6
        assert "embedded/digits by the judge: greedy 1.000 [" in capsys.readouterr().out
        # A first verdict that takes all that is well-formed, and a judge that takes nothing.
        ask("lowered", FormatReward(), "wrong")
        first, second, raised, lowered = both("lowered")
        assert (first["greedy"], first["avg@4"], second["greedy"], second["avg@4"]) == (1, 0.75, 0, 0)
        assert (raised, lowered) == (0, 2 + 6)
        with pytest.raises(UserError, match="no verdict on 8 answers"):
            ask("failed", AnswerReward(processes=1), "400")
        assert both("failed")[2:] == (0, 0)
        assert table(tmp_path / "failed")["settings"]["judge_counts"]["failed"] == 8
        # Nothing is sampled again once the judge is there.
        before = (tmp_path / "failed" / "test" / EMBEDDED_NAME / "seed0.jsonl").read_bytes()
        ask("failed", AnswerReward(processes=1), "right")
        assert (tmp_path / "failed" / "test" / EMBEDDED_NAME / "seed0.jsonl").read_bytes() == before
        assert both("failed")[2:] == (8, 0)


def test_the_configuration_is_whole() -> None:
    options = parse(find_command("evaluate"), with_config_folder(["--config", "eval.yaml"]))
    assert (options["models"], options["engine"].__class__.__name__) == (["runs/demo"], "TransformersEngine")
    assert [(own.name, own.path) for own in options["sets"]] == [("test", f"{EMBEDDED_NAME}/test.jsonl")]
    # The paper's sampling.
    assert (options["temperature"], options["top_p"]) == (1.0, 0.7)
