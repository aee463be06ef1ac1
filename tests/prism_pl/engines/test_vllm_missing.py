"""Without vLLM the engine says what to install."""

import importlib.util

import pytest

from prism_pl.engines import VLLMEngine
from prism_pl.errors import UserError
from prism_pl.types import SamplingOptions


def test_a_missing_vllm_names_both_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"vllm is not installed.*\.\[vllm\].*TransformersEngine"):
        VLLMEngine().start("embedded/digits", 64, SamplingOptions(max_new_tokens=8))
