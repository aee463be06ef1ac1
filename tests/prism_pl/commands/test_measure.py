"""`measure` on written responses: every distance beside its floor."""

import json
from pathlib import Path

import pytest

from prism_pl.commands.measure import measure
from prism_pl.drift import CLOUD_DISTANCES, COUNT_DISTANCES, HiddenStates
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.errors import UserError
from tests.modules.scripted import ScriptedEngine

HELDOUT = f"{EMBEDDED_NAME}/heldout.jsonl"


def test_distances_are_written_and_printed_beside_their_floor(
    embedded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"max_new_tokens": 60, "num_samples": 2, "num_prompts": 12}
    measure(EMBEDDED_NAME, HELDOUT, str(tmp_path), ScriptedEngine(), encoder=HiddenStates(path=EMBEDDED_NAME), **options)
    first = json.loads((tmp_path / "measured.json").read_text())
    assert first["drift"].keys() == {*COUNT_DISTANCES, *CLOUD_DISTANCES}
    assert first["figures"].keys() >= {*COUNT_DISTANCES}
    for name, own in first["drift"].items():
        for part in (own["value"], own["floor"]):
            assert part["low"] <= part["mean"] <= part["high"], name
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    value, floor = (first["drift"]["frechet"][part] for part in ("value", "floor"))
    for part in (value, floor):
        assert f"{part['mean']:.3f} [{part['low']:.3f}, {part['high']:.3f}]" in lines["frechet"]
    # Measured again from the responses that are there, without embeddings: the rest is the same to the last digit.
    measure(EMBEDDED_NAME, HELDOUT, str(tmp_path), ScriptedEngine(), **options)
    again = json.loads((tmp_path / "measured.json").read_text())
    assert again["drift"] == {name: first["drift"][name] for name in COUNT_DISTANCES}
    assert again["figures"] == first["figures"]


def test_an_encoder_without_a_model_is_refused_before_sampling(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"encoder\.path"):
        measure(EMBEDDED_NAME, HELDOUT, str(tmp_path / "out"), ScriptedEngine(), max_new_tokens=60, encoder=HiddenStates())
    assert not (tmp_path / "out").exists()
