"""One update of SFT on demonstrations of very different lengths: TRL's SFTTrainer against ours, same model and rows.

    python -m benchmarks.sft_packing

Lengths are log-normal with a median of 600 and a 99th percentile of 6,000 tokens; a quarter of each is its prompt. TRL's
side is its own data loader and ``training_step``, padded (batches of 4) and packed (its best-fit packing, blocks of 8,192
tokens); ours is what a stage runs, packed to the same 8,192 tokens. The gradient norms are compared: equal work
gives nearly equal norms (ours leaves the two image placeholders out of the vocabulary). TRL packs texts only, so there are
no images. Then, by counting alone: what ranks have to wait for each other when eight of them share such an update.
"""

import random
import sys
import tempfile
from collections.abc import Callable

import torch

from benchmarks.measure import child, measured
from benchmarks.synthetic import END, SIZES, make_model
from prism_pl.algorithms.supervised import supervised_loss, supervised_metrics
from prism_pl.data.balance import balanced
from prism_pl.metrics.collection import StepMetrics
from prism_pl.model.packing import make_groups, micro_batches, pack
from prism_pl.model.policy import Policy
from prism_pl.types import Prompt

MAX_TOKENS = 8192
MEDIAN, SIGMA = 600, 0.99  # 6,000 / 600 = e^(2.326 sigma)
ROWS = 32
LEARNING_RATE = 1e-6
Row = tuple[tuple[int, ...], tuple[int, ...]]
"""Prompt and response."""


def rows(count: int, vocabulary: int, seed: int = 0) -> list[Row]:
    """Random ids of long-tailed length."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        length = min(MAX_TOKENS, max(16, round(MEDIAN * rng.lognormvariate(0, SIGMA))))
        ids = tuple(rng.randrange(END + 1, vocabulary) for _ in range(length))
        found.append((ids[: length // 4], ids[length // 4 :]))
    return found


def our_update(size: str) -> Callable[[], float]:
    """Packed to the budget. An update gives the gradient's norm."""
    policy = Policy(make_model(size))
    optimizer = torch.optim.AdamW(policy.parameters(), lr=LEARNING_RATE)
    demonstrations = rows(ROWS, SIZES[size][-1])
    prompts = [
        Prompt(f"row:{number}", "", ids, ids, torch.arange(len(ids)).expand(3, -1))
        for number, (ids, _) in enumerate(demonstrations)
    ]
    groups = make_groups(prompts, [[response] for _, response in demonstrations])
    num_tokens = float(sum(len(response) for _, response in demonstrations))

    def work() -> float:
        metrics = StepMetrics(supervised_metrics())
        for batch in micro_batches(groups, MAX_TOKENS):
            packed = pack(batch)
            likelihood, logp_BT, entropy_BT = policy(packed, likelihood=True)
            supervised_loss(likelihood, logp_BT, entropy_BT, packed.token_mask_BT, num_tokens, metrics).backward()
        return _finish(policy, optimizer)

    return work


def their_update(size: str, *, packing: bool) -> Callable[[], float]:
    """TRL's batches and loss."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    from prism_pl.embedded import embedded_folder

    model = make_model(size)
    options = SFTConfig(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=1 if packing else 4, max_length=MAX_TOKENS,
        packing=packing, completion_only_loss=True, use_cpu=True, bf16=False, report_to=[], gradient_checkpointing=False,
        disable_tqdm=True,
    )  # fmt: skip
    columns = [
        {"input_ids": [*prompt, *response], "completion_mask": [0] * len(prompt) + [1] * len(response)}
        for prompt, response in rows(ROWS, SIZES[size][-1])
    ]
    trainer = SFTTrainer(
        model=model, args=options, train_dataset=Dataset.from_list(columns),
        processing_class=AutoTokenizer.from_pretrained(embedded_folder() / "model"),
    )  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)

    def work() -> float:
        batches = list(trainer.get_train_dataloader())
        num_tokens = torch.tensor(sum(int((batch["labels"] != -100).sum()) for batch in batches))
        trainer.current_gradient_accumulation_steps = len(batches)
        for batch in batches:
            trainer.training_step(model, batch, num_items_in_batch=num_tokens)
        # Its gradient is a mean over the batches.
        return _finish(model, optimizer) * len(batches)

    return work


def _finish(model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> float:
    """The gradient's norm before clipping."""
    norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def idle_share(num_rows: int, num_ranks: int, *, dealt: bool) -> float:
    """One minus the mean over the most of the ranks' tokens, over 200 updates."""
    lengths = [len(prompt) + len(response) for prompt, response in rows(200 * num_rows, END + 2)]
    mean = most = 0.0
    for start in range(0, len(lengths), num_rows):
        own = lengths[start : start + num_rows]
        parts = balanced(own, num_ranks) if dealt else [list(range(rank, num_rows, num_ranks)) for rank in range(num_ranks)]
        sums = [sum(own[row] for row in part) for part in parts]
        mean, most = mean + sum(sums) / num_ranks, most + max(sums)
    return 1 - mean / most


def main() -> None:
    size = "tiny"
    tokens = sum(len(prompt) + len(response) for prompt, response in rows(ROWS, SIZES[size][-1]))
    print(f"{torch.get_num_threads()} threads, fp32, {size}, {ROWS} demonstrations, {tokens} tokens\n")
    print("| | seconds | ours is faster by | MiB | gradient norm |")
    print("| --- | --- | --- | --- | --- |")
    own = measured("benchmarks.sft_packing", "ours", size)
    for name, kind in (("TRL, padded", "padded"), ("TRL, packed", "packed"), ("ours", "ours")):
        found = own if kind == "ours" else measured("benchmarks.sft_packing", kind, size)
        print(
            f"| {name} | {found['seconds']:.1f} | {found['seconds'] / own['seconds']:.2f} | {found['mib']:.0f} | "
            f"{found['value']:.5f} |",
            flush=True,
        )
    print("\n| demonstrations an update, 8 ranks | idle, every eighth row | idle, dealt by tokens |")
    print("| --- | --- | --- |")
    for count in (32, 64, 128, 256):
        shares = (idle_share(count, 8, dealt=dealt) for dealt in (False, True))
        print(f"| {count} | {' | '.join(f'{share:.3f}' for share in shares)} |")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        kind, size = sys.argv[1:]
        child(our_update(size) if kind == "ours" else their_update(size, packing=kind == "packed"), 1)
    else:
        main()
