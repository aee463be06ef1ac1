"""Two ranks share one vLLM server: the first gives it the weights that both gather, and both ask it."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import own_environment


@pytest.mark.ranks
@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vllm is not installed")
def test_two_ranks_share_a_server(embedded: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.ranks.serving", str(tmp_path / "store")]
    ranks = [subprocess.Popen([*command, str(rank), str(tmp_path)], env=own_environment()) for rank in range(2)]
    try:
        assert [process.wait(1500) for process in ranks] == [0, 0]
    finally:
        for process in ranks:
            process.kill()
    found = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    for own in found:
        # What the first rank has seen, both say.
        assert own["error"].startswith(
            "No vLLM server is left to ask. The vLLM server http://127.0.0.1:9 cannot be reached"
        )
        assert own["versions"] == [[0], [5]]
        assert max(own["gaps"]) < 1e-4
        assert own["dtype"] == "torch.float32"
    assert found[0]["ids"] != found[1]["ids"]
