"""A user's function as the reward."""

from pathlib import Path

import pytest

from prism_pl.errors import UserError
from prism_pl.rewards import PythonReward, total_reward
from tests.prism_pl.rewards.batches import make_batch

FUNCTIONS = """
calls = []

def shares(inputs):
    calls.append(len(inputs))
    return [{"overall": float(i["response"] == i["ground_truth"]), "other": 9} for i in inputs]

def short(inputs):
    return [1.0]

def wrong(inputs):
    return ["good" for _ in inputs]

def sources(inputs):
    return [float(i["source"] == "rows:1" and i["response_length"] == len(i["response"])) for i in inputs]
"""


def test_python_reward(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(FUNCTIONS)
    batch = make_batch()
    reward = PythonReward(function=f"{file}:shares", weight=2.0)
    _, parts = total_reward([reward], batch)
    # The second prompt's first response is the bare text "3", its answer is 7.
    assert parts["python"].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert reward("7", "7") == 1.0
    assert reward._call.__globals__["calls"] == [4, 1]  # once a batch
    assert PythonReward(function=f"{file}:sources").grade(batch.prompts, batch.texts) == [[1.0, 1.0], [1.0, 1.0]]
    with pytest.raises(UserError, match="returned 1 scores for 4 responses"):
        PythonReward(function=f"{file}:short").grade(batch.prompts, batch.texts)
    with pytest.raises(UserError, match="returned 'good', which is no number"):
        PythonReward(function=f"{file}:wrong").grade(batch.prompts, batch.texts)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.py:f", "is not `path.py:name` of a file"),
        ("mine.py", "is not `path.py:name`"),
        ("mine.py:f", "no function 'f'"),
    ],
)
def test_a_python_reward_fails_at_the_start(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("x = 1")
    Path("broken.py").write_text("import nothing_of_that_name")
    with pytest.raises(UserError, match=message):
        PythonReward(function=name)
    with pytest.raises(UserError, match="fails when imported: ModuleNotFoundError"):
        PythonReward(function="broken.py:f")
