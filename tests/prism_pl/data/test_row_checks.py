"""What is found in rows is right, is remembered, and is forgotten when it no longer holds."""

import json
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from prism_pl.data import row_checks
from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile, DataSource, Mixture
from prism_pl.data.row_checks import Requirements, usable_mixture, usable_rows
from prism_pl.errors import UserError
from tests.responses import respond

TEACHER = respond("a", "b", "3")


def opened(folder: Path, *changes: dict[str, Any]) -> DataFile:
    row = {"question": "Add.", "image": "a.png", "answer": "3", "teacher": TEACHER}
    lines = [json.dumps(row | change) + "\n" for change in changes]
    (folder / "data.jsonl").write_text("".join(lines))
    return DataFile.open(str(folder / "data.jsonl"), "test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGB", (64, 32)).save(tmp_path / "a.png")
    return tmp_path


def test_counts_are_those_of_the_encoded_rows_and_come_from_the_cache_the_second_time(
    folder: Path, encoder: PromptEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = opened(folder, {}, {"question": "Add.12"}, {})
    first, longer, _ = (len(prompt.input_ids) for prompt in encoder.encode([data.prompt_row(i) for i in range(3)]))
    monkeypatch.setattr(encoder, "max_prompt_tokens", longer)
    assert usable_rows(data, encoder, Requirements()).tolist() == [0, 1, 2]
    # Another limit needs no other measurement: rows are not read again.
    monkeypatch.setattr("prism_pl.data.row_checks._read", None)
    monkeypatch.setattr(encoder, "max_prompt_tokens", longer - 1)
    assert first < longer
    assert usable_rows(data, encoder, Requirements(drop_too_long=True)).tolist() == [0, 2]
    message = rf"data.jsonl:2: the prompt has {longer} tokens, data.max_prompt_tokens is {longer - 1}. Raise the limit"
    with pytest.raises(UserError, match=message):
        usable_rows(data, encoder, Requirements())


def test_the_first_defect_is_named_and_the_others_counted(folder: Path, encoder: PromptEncoder) -> None:
    data = opened(folder, {}, {"answer": " "}, {"answer": None})
    with pytest.raises(UserError, match=r"data.jsonl:2: the row has no `answer`.*\(1 more rows are defective"):
        usable_rows(data, encoder, Requirements(("answer",)))
    # What a stage does not need is no defect.
    assert usable_rows(data, encoder, Requirements(("teacher",))).tolist() == [0, 1, 2]


def test_a_mended_image_file_is_seen(folder: Path, encoder: PromptEncoder) -> None:
    data = opened(folder, {}, {"image": "b.png"})
    for _ in range(2):
        with pytest.raises(UserError, match=r"data.jsonl:2: the image .*b.png does not exist"):
            usable_rows(data, encoder, Requirements())
    Image.new("RGB", (64, 32)).save(folder / "b.png")
    assert usable_rows(data, encoder, Requirements()).tolist() == [0, 1]


def test_a_changed_file_is_measured_again(folder: Path, encoder: PromptEncoder) -> None:
    assert len(usable_rows(opened(folder, {}), encoder, Requirements(("answer",)))) == 1
    with pytest.raises(UserError, match="no `answer`"):
        usable_rows(opened(folder, {"answer": " "}), encoder, Requirements(("answer",)))


def test_responses_have_a_limit_of_their_own(folder: Path, encoder: PromptEncoder) -> None:
    turns = [{"role": "user", "content": "<image>Add."}, {"role": "assistant", "content": TEACHER}]
    data = opened(folder, {"messages": turns})
    length = len(encoder.response_ids(TEACHER))
    assert len(usable_rows(data, encoder, Requirements(max_response_tokens=length))) == 1
    with pytest.raises(UserError, match=rf"the response has {length} tokens, data.max_response_tokens is {length - 1}"):
        usable_rows(data, encoder, Requirements(max_response_tokens=length - 1))
    with pytest.raises(UserError, match="no row is left after dropping the 1"):
        usable_rows(data, encoder, Requirements(max_response_tokens=length - 1, drop_too_long=True))


def test_a_teachers_response_that_is_learnt_is_measured(folder: Path, encoder: PromptEncoder) -> None:
    short = [{"role": "user", "content": "<image>Add."}, {"role": "assistant", "content": "5"}]
    data = opened(folder, {"messages": short, "teacher": TEACHER})
    length = len(encoder.response_ids(TEACHER))
    assert len(usable_rows(data, encoder, Requirements(max_response_tokens=length - 1))) == 1
    with pytest.raises(UserError, match=f"the response has {length} tokens"):
        usable_rows(data, encoder, Requirements(max_response_tokens=length - 1, response="teacher"))


def test_the_policys_side_is_asked_for_where_it_is_there(folder: Path, encoder: PromptEncoder) -> None:
    requirements = Requirements(("teacher",), policy_side=True)
    assert len(usable_rows(opened(folder, {}), encoder, requirements)) == 1
    assert len(usable_rows(opened(folder, {"student_response": TEACHER}), encoder, requirements)) == 1
    parts = {"student_caption": "<caption>a</caption>", "student_cot": "<think>b</think><answer>3</answer>"}
    assert len(usable_rows(opened(folder, parts), encoder, requirements)) == 1
    with pytest.raises(UserError, match=r"data.jsonl:2: the `student` response is missing or malformed"):
        usable_rows(opened(folder, parts, parts | {"student_cot": "<think>"}), encoder, requirements)


def test_a_mixtures_rows_have_the_mixtures_numbers(folder: Path, encoder: PromptEncoder) -> None:
    opened(folder, {}, {"question": "Add. " + "word " * 300}, {})
    source = DataSource(path=str(folder / "data.jsonl"))
    mixture = Mixture.open([source, source], "test")
    parts = usable_mixture(mixture, encoder, Requirements(drop_too_long=True))
    assert [part.tolist() for part in parts] == [[0, 2], [3, 5]]


def measure(folder: Path, start: Any) -> None:
    """A process of its own that counts how often rows are looked at."""
    data = DataFile.open(str(folder / "data.jsonl"), "test")
    encoder = PromptEncoder("embedded/digits", 300)
    check = row_checks.check_rows

    def counted(*arguments: Any, **options: Any) -> Any:
        with (folder / "looks").open("a") as out:
            out.write("x")
        return check(*arguments, **options)

    row_checks.check_rows = counted
    start.wait()
    assert usable_rows(data, encoder, Requirements()).tolist() == [0, 1, 2]


def test_processes_that_come_at_once_measure_the_rows_once_a_disk(folder: Path, encoder: PromptEncoder) -> None:
    opened(folder, {}, {"question": "Add.12"}, {})
    context = multiprocessing.get_context("fork")
    start = context.Barrier(4)
    processes = [context.Process(target=measure, args=(folder, start)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0] * 4
    assert (folder / "looks").read_text() == "x"
