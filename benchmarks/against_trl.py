"""One optimizer step on sampled responses, without generation: TRL's GRPOTrainer against ours, same model and tensors.

    python -m benchmarks.against_trl

Prompts with an image and G responses each, DAPO's loss, AdamW. TRL's side is its own ``_compute_loss`` on the batch that
its generation would have made (images and prompts repeated G times, logits of the completions); ours is what
``update_policy`` runs in a stage. The gradient norms are compared: equal work gives nearly equal norms (ours leaves the two
image placeholders out of the vocabulary).
"""

import sys
import tempfile
from collections.abc import Callable

import torch

from benchmarks.measure import child, measured
from benchmarks.synthetic import IMAGE, SIZES, make_model, make_prompts, make_responses
from prism_pl.algorithms import DAPO, LossInputs
from prism_pl.metrics.collection import StepMetrics
from prism_pl.model.attention import BLOCK
from prism_pl.model.packing import make_groups, micro_batches, pack
from prism_pl.model.policy import Policy
from prism_pl.types import Prompt

CASES = {
    # name: model, prompts, group, prompt tokens, response tokens
    "tiny": ("tiny", 4, 16, 128, 128),
    "100M": ("100M", 1, 16, 128, 128),
    "100M, 4:1": ("100M", 1, 16, 256, 64),
}
LEARNING_RATE = 1e-6


def our_step(case: str, device: str) -> Callable[[], float]:
    """Packed groups. A step gives the gradient's norm."""
    policy, prompts, responses, advantage_B = _problem(case, device)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=LEARNING_RATE)
    groups = make_groups(prompts, responses)
    count = sum(len(ids) for group in responses for ids in group)

    def work() -> float:
        for batch in micro_batches(groups, 8192):
            packed = pack(batch, multiple=BLOCK if device == "cuda" else 1).to(torch.device(device))
            logp_BT, entropy_BT = policy(packed)
            inputs = LossInputs(
                logp_BT=logp_BT, old_logp_BT=logp_BT.detach(), weight_BT=torch.ones_like(logp_BT),
                mask_BT=packed.token_mask_BT, advantage_BT=advantage_B[packed.order_B][:, None], num_tokens=count,
                num_responses=len(advantage_B), max_length=512, entropy_BT=entropy_BT,
            )  # fmt: skip
            DAPO().loss(inputs, StepMetrics(DAPO().metrics())).backward()
        return _finish(policy, optimizer)

    return work


def their_step(case: str, device: str) -> Callable[[], float]:
    """TRL's loss on its own kind of batch."""
    from datasets import Dataset
    from transformers import AutoProcessor
    from trl import GRPOConfig, GRPOTrainer

    from prism_pl.embedded import embedded_folder

    policy, prompts, responses, advantage_B = _problem(case, device)
    size = len(advantage_B)
    options = GRPOConfig(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=size, num_generations=len(responses[0]), beta=0.0,
        loss_type="dapo", epsilon_high=0.28, use_cpu=device == "cpu", bf16=False, report_to=[],
        gradient_checkpointing=False,
    )  # fmt: skip
    trainer = GRPOTrainer(
        model=policy.vlm, reward_funcs=lambda completions, **_: [0.0] * len(completions), args=options,
        train_dataset=Dataset.from_list([{"prompt": "x"}] * size),
        processing_class=AutoProcessor.from_pretrained(embedded_folder() / "model"),
    )  # fmt: skip
    trainer.current_gradient_accumulation_steps = 1
    optimizer = torch.optim.AdamW(policy.parameters(), lr=LEARNING_RATE)
    batch = _batch(prompts, responses, advantage_B)
    inputs = {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in batch.items()}

    def work() -> float:
        trainer._compute_loss(policy.vlm, inputs).backward()
        return _finish(policy, optimizer)

    return work


def _problem(case: str, device: str) -> tuple[Policy, list[Prompt], list[list[tuple[int, ...]]], torch.Tensor]:
    size, count, group_size, prompt_tokens, response_tokens = CASES[case]
    vocabulary = SIZES[size][-1]
    prompts = make_prompts(count, prompt_tokens, vocabulary)
    responses = make_responses(count, group_size, response_tokens, vocabulary)
    advantage_B = torch.randn(count * group_size, generator=torch.Generator().manual_seed(2)).to(device)
    return Policy(make_model(size).to(device)), prompts, responses, advantage_B


def _batch(
    prompts: list[Prompt], responses: list[list[tuple[int, ...]]], advantage_B: torch.Tensor
) -> dict[str, torch.Tensor | list[int]]:
    """What ``_generate_and_score_completions`` would hand over: every response with its own prompt and image."""
    rows = [(prompt, ids) for prompt, group in zip(prompts, responses, strict=True) for ids in group]
    prompt_ids = torch.tensor([prompt.input_ids for prompt, _ in rows])
    completion_ids = torch.tensor([ids for _, ids in rows])
    kinds = torch.cat([(prompt_ids == IMAGE).int(), torch.zeros_like(completion_ids).int()], dim=1)
    return {
        "prompt_ids": prompt_ids,
        "prompt_mask": torch.ones_like(prompt_ids),
        "completion_ids": completion_ids,
        "completion_mask": torch.ones_like(completion_ids),
        "advantages": advantage_B,
        "num_items_in_batch": torch.tensor(completion_ids.numel()),
        "pixel_values": torch.cat([prompt.pixel_values for prompt, _ in rows if prompt.pixel_values is not None]),
        "image_grid_thw": torch.cat([prompt.image_grid for prompt, _ in rows if prompt.image_grid is not None]),
        "num_images": [1] * len(rows),
        "mm_token_type_ids": kinds,
    }


def _finish(policy: Policy, optimizer: torch.optim.Optimizer) -> float:
    """The gradient's norm before clipping."""
    norm = float(torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def main() -> None:
    print(f"{torch.get_num_threads()} threads, fp32, 16 responses a prompt\n")
    print("| model, prompts, prompt + response tokens | TRL s | ours s | ratio | TRL MiB | ours MiB | gradient norms |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for case, (size, count, _, prompt_tokens, response_tokens) in CASES.items():
        trl, own = (measured("benchmarks.against_trl", kind, case) for kind in ("theirs", "ours"))
        print(
            f"| {size}, {count}, {prompt_tokens} + {response_tokens} | {trl['seconds']:.2f} | {own['seconds']:.2f} | "
            f"{trl['seconds'] / own['seconds']:.1f} | {trl['mib']:.0f} | {own['mib']:.0f} | "
            f"{trl['value']:.6f}, {own['value']:.6f} |",
            flush=True,
        )


if __name__ == "__main__":
    if len(sys.argv) > 1:
        make = {"ours": our_step, "theirs": their_step}[sys.argv[1]]
        child(make(sys.argv[2], "cpu"), 1 if sys.argv[2].startswith("100M") else 3)
    else:
        main()
