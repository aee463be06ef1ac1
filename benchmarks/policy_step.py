"""The policy's step (log-probabilities, loss, backward) for one prompt with G responses: packed against plain rows.

    python -m benchmarks.policy_step

Plain: each response in a row of its own with its own copy of prompt and image, as TRL and verl compute it, by stock causal
SDPA, without a mask, for all rows are equally long. The same micro-batch budget, head and loss. Prints seconds and peak
memory of both, side by side, for G and prompt:response lengths.
"""

import sys
from collections.abc import Sequence

import torch

from benchmarks.measure import child, measured
from benchmarks.synthetic import SIZES, make_model, make_prompts, make_responses
from prism_pl.model.logprobs import Softmax, token_logprobs
from prism_pl.model.packing import make_groups, micro_batches, pack
from prism_pl.model.policy import Policy, suppressed_tokens
from prism_pl.types import Prompt

GROUP_SIZES, LENGTHS, MAX_TOKENS = (4, 8, 16, 32), {"4:1": (256, 64), "1:1": (128, 128), "1:4": (64, 256)}, 8192


def step(size: str, kind: str, group_size: int, lengths: str) -> None:
    """One forward and backward pass over all responses."""
    vocabulary = SIZES[size][-1]
    prompt_tokens, response_tokens = LENGTHS[lengths]
    policy = Policy(make_model(size))
    prompts = make_prompts(1, prompt_tokens, vocabulary)
    responses = make_responses(1, group_size, response_tokens, vocabulary)
    groups = make_groups(prompts, responses)
    rows = MAX_TOKENS // (prompt_tokens + response_tokens)

    def work() -> float:
        if kind == "plain":
            parts = [
                lambda start=start: plain_logprobs(policy, prompts[0], responses[0][start : start + rows])
                for start in range(0, group_size, rows)
            ]
        else:
            parts = [lambda batch=batch: policy(pack(batch))[0] for batch in micro_batches(groups, MAX_TOKENS)]
        total = 0.0
        for part in parts:
            loss = -part().sum() / (group_size * response_tokens)
            loss.backward()
            total += float(loss.detach())
        policy.zero_grad(set_to_none=True)
        return total

    child(work, 3)


def plain_logprobs(policy: Policy, prompt: Prompt, responses: Sequence[tuple[int, ...]]) -> torch.Tensor:
    """(B * T,) of B responses of T tokens, each after its own copy of the prompt."""
    device = policy.vlm.lm_head.weight.device
    count, size, first = len(responses), len(responses[0]), len(prompt.input_ids)
    ids_BL = torch.tensor([[*prompt.input_ids, *ids] for ids in responses], device=device)
    tail_T = torch.arange(size) + int(prompt.positions_3T.max()) + 1
    positions_3L = torch.cat([prompt.positions_3T, tail_T.expand(3, -1)], dim=1).to(device)
    assert prompt.pixel_values is not None
    assert prompt.image_grid is not None
    hidden_BLH = policy.vlm.model(
        input_ids=ids_BL,
        position_ids=positions_3L[:, None].expand(-1, count, -1),
        pixel_values=prompt.pixel_values.repeat(count, 1).to(device),
        image_grid_thw=prompt.image_grid.repeat(count, 1).to(device),
    ).last_hidden_state
    source_NH = hidden_BLH[:, first - 1 : -1].flatten(0, 1)
    softmax = Softmax(suppressed=tuple(suppressed_tokens(policy.vlm.config)))
    return token_logprobs(source_NH, ids_BL[:, first:].flatten(), policy.vlm.lm_head.weight, softmax)[0]


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
