"""The policy's step (log-probabilities, loss, backward) for one prompt with G responses: packed rows against plain ones.

    python -m benchmarks.policy_step

Plain: each response in a row of its own with its own copy of prompt and image, as TRL and verl compute it; the same
micro-batch budget, head and loss. Prints seconds and peak memory of both, side by side, for G and prompt:response lengths.
"""

import sys

import torch

from benchmarks.measure import child, measured
from benchmarks.synthetic import SIZES, make_model, make_prompts, make_responses
from prism_pl.packing import make_groups, micro_batches, pack
from prism_pl.policy import Policy

GROUP_SIZES, LENGTHS, MAX_TOKENS = (4, 8, 16, 32), {"4:1": (256, 64), "1:1": (128, 128), "1:4": (64, 256)}, 8192


def step(size: str, kind: str, group_size: int, lengths: str) -> None:
    """One forward and backward pass over all responses."""
    vocabulary = SIZES[size][-1]
    prompt_tokens, response_tokens = LENGTHS[lengths]
    policy = Policy(make_model(size))
    prompts = make_prompts(1, prompt_tokens, vocabulary)
    responses = make_responses(1, group_size, response_tokens, vocabulary)
    if kind == "plain":
        groups = make_groups(prompts * group_size, [[ids] for ids in responses[0]])
    else:
        groups = make_groups(prompts, responses)

    def work() -> None:
        for batch in micro_batches(groups, MAX_TOKENS):
            logp_BT, _ = policy(pack(batch))
            (-logp_BT.sum() / (group_size * response_tokens)).backward()
        policy.zero_grad(set_to_none=True)

    child(work, 3)


def main() -> None:
    print(f"10M parameters, {torch.get_num_threads()} threads\n")
    print("| prompt:response | G | plain s | packed s | ratio | plain MiB | packed MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for lengths in LENGTHS:
        for group_size in GROUP_SIZES:
            plain, packed = (
                measured("benchmarks.policy_step", "10M", kind, str(group_size), lengths) for kind in ("plain", "packed")
            )
            print(
                f"| {lengths} | {group_size} | {plain['seconds']:.2f} | {packed['seconds']:.2f} | "
                f"{plain['seconds'] / packed['seconds']:.1f} | {plain['mib']:.0f} | {packed['mib']:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        step(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])
    else:
        main()
