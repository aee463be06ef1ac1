"""The plan of an update against the peak that a process reaches: resident memory less that of its imports.

    python -m benchmarks.plan_peaks

The second update's long micro-batch, in a process of its own a row. Blocks that are freed go back to the system at once:
what counts is what is held. Prints both figures in MiB and their ratio.
"""

import json
import os
import sys
from dataclasses import replace
from typing import Any

import psutil
import torch

from benchmarks.measure import measured, peak_kib
from benchmarks.synthetic import IMAGE, SIZES, make_model, make_prompts, make_responses
from prism_pl.discriminators import DedicatedExpertsDiscriminator
from prism_pl.discriminators.base import _finish
from prism_pl.discriminators.model import MixtureScorer
from prism_pl.model.checkpointing import enable_checkpointing
from prism_pl.model.packing import Group, make_groups, micro_batches, pack
from prism_pl.model.policy import Policy
from prism_pl.planning import Architecture, Plan, Settings, Workload, make_plan
from prism_pl.planning.settings import Network

KINDS = ("policy", "policy, checkpointing", "discriminator", "discriminator, checkpointing")
# Prompts, responses to each, tokens of a prompt and of a response, tokens of a micro-batch.
WORK = {"tiny": (8, 4, 256, 448, 4096), "100M": (4, 4, 256, 192, 2048)}
_SHORT = 16


def plan_of(size: str, kind: str) -> Plan:
    """Of one process with these batches; no engine."""
    prompts, group_size, prompt, response, max_tokens = WORK[size]
    config = make_model(size).config
    mixture = DedicatedExpertsDiscriminator()
    policy = kind.startswith("policy")
    arch = Architecture.of(config) if policy else Architecture.of(mixture.fresh_config(config), mixture.num_heads)
    network = Network(architecture=arch, trained=arch.total, checkpointing=kind.endswith("checkpointing"))
    images = make_prompts(1, prompt, SIZES[size][-1])[0].input_ids.count(IMAGE)
    settings = Settings(
        stage="RLVRModule" if policy else "DiscriminatorModule", devices=1, shards=False, bf16=False,
        policy=network if policy else None, reference=False, discriminator=None if policy else network, engine=None,
        engine_policy=arch, engine_beside=False, probe=None, batch_size=prompts, group_size=group_size,
        segments=group_size, max_prompt=prompt, max_new=response, max_tokens=max_tokens,
        workload=Workload(prompt_tokens=prompt, response_tokens=response, image_share=images / prompt),
    )  # fmt: skip
    # The benchmark's segments are whole responses.
    return make_plan(settings if policy else replace(settings, max_new=2 * response, workload=replace(
        settings.workload, response_tokens=2 * response)), None)  # fmt: skip


def update(size: str, kind: str) -> None:
    """The second of two updates, of a short and a long micro-batch: the long one meets moments and gradients."""
    # What libraries set up when they are first used is no part of it.
    _two_updates("tiny", kind, [_short("tiny")])
    prompts, group_size, prompt, response, max_tokens = WORK[size]
    vocabulary = SIZES[size][-1]
    responses = make_responses(prompts, group_size, response, vocabulary)
    long = micro_batches(make_groups(make_prompts(prompts, prompt, vocabulary), responses), max_tokens)[0]
    before = psutil.Process().memory_info().rss
    _two_updates(size, kind, [_short(size), long])
    peak = peak_kib() * 1024
    print(json.dumps({"mib": (peak - before) / 2**20}))


def _short(size: str) -> list[Group]:
    vocabulary = SIZES[size][-1]
    return make_groups(make_prompts(1, _SHORT, vocabulary), make_responses(1, 4, 8, vocabulary))


def _two_updates(size: str, kind: str, batches: list[list[Group]]) -> None:
    policy = kind.startswith("policy")
    network: Any = Policy(make_model(size)) if policy else _mixture(size)
    if kind.endswith("checkpointing"):
        enable_checkpointing(network.vlm if policy else network, offload=False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5)
    for own in (batches[:1], batches):
        for batch in own:
            packed = pack(batch)
            if policy:
                loss = -network(packed)[0].sum() / 1000
            else:
                score_B, usage = network(packed, packed.order_B % 2)
                loss = score_B.sum() + usage.probability_LCE.sum()
            loss.backward()
        optimizer.step()
        optimizer.zero_grad()


def _mixture(size: str) -> Any:
    return _finish(MixtureScorer(DedicatedExpertsDiscriminator().fresh_config(make_model(size).config))).train()


def row(size: str, kind: str) -> tuple[float, float]:
    """MiB by the plan and by the system."""
    (phase,) = (phase for phase in plan_of(size, kind).phases if phase.name.endswith("update"))
    return phase.total / 2**20, measured("benchmarks.plan_peaks", size, kind)["mib"]


def main() -> None:
    print("| size | update | plan MiB | measured MiB | plan / measured |")
    print("| --- | --- | --- | --- | --- |")
    for size in WORK:
        for kind in KINDS:
            planned, peak = row(size, kind)
            print(f"| {size} | {kind} | {planned:.0f} | {peak:.0f} | {planned / peak:.2f} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        update(sys.argv[1], sys.argv[2])
    else:
        # glibc would keep what is freed, or give it back, as it happens to lie.
        os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"
        main()
