"""A rank of two that share one vLLM server. STORE RANK FOLDER: writes what it was answered, and of which weights."""

import copy
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist

from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.engines import VLLMServerEngine
from prism_pl.engines.server_pool import NoServerLeftError
from prism_pl.model.policy import Policy
from prism_pl.vllm_server import ServerOptions
from tests.plain_forward import add_noise
from tests.prism_pl.engines.agreement import SAMPLING, largest_gap


def main() -> None:
    store, rank, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    policy = Policy.load(EMBEDDED_NAME, "test").eval()
    lively = copy.deepcopy(policy)
    add_noise(lively)

    def gathered() -> Iterator[tuple[str, torch.Tensor]]:
        """Of which each rank has every other tensor: a rank that does not come along hangs the other."""
        for number, (name, tensor) in enumerate(lively.weights()):
            whole = tensor.clone() if number % 2 == rank else torch.zeros_like(tensor)
            dist.all_reduce(whole)
            yield name, whole

    found: dict[str, object] = {}
    # Only the first rank looks for it.
    try:
        VLLMServerEngine(urls=["http://127.0.0.1:9"]).start(EMBEDDED_NAME, 64, SAMPLING)
    except NoServerLeftError as error:
        found["error"] = str(error)
    options = ServerOptions(dtype="float32", enforce_eager=True, max_num_seqs=64, threads=1)
    engine = VLLMServerEngine(num_servers=1, options=options, log_folder=str(folder))
    engine.start(EMBEDDED_NAME, 64, SAMPLING)
    data = DataFile.open(f"{EMBEDDED_NAME}/align.jsonl", "test")
    prompts = PromptEncoder(EMBEDDED_NAME, 64).encode([data.prompt_row(row) for row in range(rank, 6, 2)])
    pending = engine.submit(prompts, [SAMPLING], "x")
    engine.take(gathered(), 5)
    later = engine.answer(prompts, SAMPLING, "x")
    (before,) = pending.result()
    found["gaps"] = [largest_gap(policy, prompts, before.responses), largest_gap(lively, prompts, later.responses)]
    found["versions"] = [sorted({response.version for response in own.flat_responses}) for own in (before, later)]
    found["ids"] = [[response.token_ids for response in group] for group in later.responses]
    found["dtype"] = str(engine.precision)
    engine.close()
    (folder / f"new{rank}").write_text(json.dumps(found))
    os.rename(folder / f"new{rank}", folder / f"rank{rank}.json")


if __name__ == "__main__":
    main()
