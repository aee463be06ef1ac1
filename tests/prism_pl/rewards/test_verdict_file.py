"""The file of verdicts under several writers, kills and mistakes."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from prism_pl.errors import UserError
from prism_pl.rewards.verdict_file import VerdictFile


def test_the_first_verdict_holds_for_everybody(tmp_path: Path) -> None:
    one, other = VerdictFile(tmp_path / "sub" / "v.jsonl"), VerdictFile(tmp_path / "sub" / "v.jsonl")
    assert one.refresh() == other.refresh() == {}
    assert one.add("a", True, {"answer": "x"}) is True
    assert other.add("a", False, {}) is True
    assert other.add("b", False, {}) is False
    assert one.refresh() == other.refresh() == {"a": True, "b": False}
    lines = (tmp_path / "sub" / "v.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"key": "a", "right": True, "answer": "x"},
        {"key": "b", "right": False},
    ]


def test_many_writers_write_each_key_once(tmp_path: Path) -> None:
    """Each with a file of its own, as processes have: the lock is the open file's."""
    file = tmp_path / "v.jsonl"

    def write(writer: int) -> list[bool]:
        own = VerdictFile(file)
        return [own.add(str(key), (key + writer) % 2 == 0, {"writer": writer}) for key in range(25)]

    with ThreadPoolExecutor(4) as threads:
        seen = list(threads.map(write, range(4)))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert sorted(int(line["key"]) for line in lines) == list(range(25))
    # All of them go by what is on disk.
    held = {line["key"]: line["right"] for line in lines}
    assert all(own == [held[str(key)] for key in range(25)] for own in seen)


def test_a_line_that_a_kill_cut_is_written_over(tmp_path: Path) -> None:
    file = tmp_path / "v.jsonl"
    VerdictFile(file).add("a", True, {})
    with file.open("a") as out:
        out.write('{"key": "b", "ri')
    late = VerdictFile(file)
    assert late.refresh() == {"a": True}
    assert late.add("c", False, {}) is False
    assert late.refresh() == VerdictFile(file).refresh() == {"a": True, "c": False}
    file.unlink()
    assert late.refresh() == {}


@pytest.mark.parametrize(
    "line", ["nonsense", "[1]", '{"key": "a"}', '{"key": 1, "right": true}', '{"key": "a", "right": 1}']
)
def test_a_line_that_is_no_verdict_is_named(line: str, tmp_path: Path) -> None:
    (tmp_path / "v.jsonl").write_text(line + "\n")
    with pytest.raises(UserError, match=r"JudgeReward.cache: .*v.jsonl has a line that is no verdict"):
        VerdictFile(tmp_path / "v.jsonl").refresh()
