"""Discriminator scores of a step (prompts with 16 responses and their teacher): packed rows against a forward a segment.

    python benchmarks/scoring.py

Prints seconds of both, side by side in one run, their ratio, and the largest difference of a score.
"""

import statistics
import time
from collections.abc import Callable

import torch

from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile
from prism_pl.discriminators import DedicatedExpertsDiscriminator, Scorer
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.game import ScoringBatch, make_scoring_batch, score_without_stage
from prism_pl.model.packing import make_groups, pack

RESPONSES, REPEATS, MAX_TOKENS = 16, 7, 4096


def main() -> None:
    encoder = PromptEncoder(EMBEDDED_NAME, 256)
    data = DataFile.open(f"{EMBEDDED_NAME}/align.jsonl", "benchmark")
    pool = encoder.encode([data.prompt_row(index) for index in range(64)])
    scorer = DedicatedExpertsDiscriminator().build(EMBEDDED_NAME, "benchmark").eval()
    for count in (1, 8):
        said = [[other.teacher or "" for other in pool[p + 1 : p + 1 + RESPONSES]] for p in range(count)]
        _compare(scorer, make_scoring_batch(pool[:count], said, encoder.tokenizer, scorer.reading))


def _compare(scorer: Scorer, batch: ScoringBatch) -> None:
    def packed() -> torch.Tensor:
        return score_without_stage(scorer, batch, MAX_TOKENS)

    def plain() -> torch.Tensor:
        pairs = [(group.prompt, segment) for group in batch.groups for segment in group.segments]
        with torch.no_grad():
            return torch.cat(
                [
                    scorer(pack(make_groups([prompt], [[segment]])), batch.aspect_N[n : n + 1])[0]
                    for n, (prompt, segment) in enumerate(pairs)
                ]
            )

    difference = (packed() - plain()).abs().max().item()
    fast, slow = (_median(run) for run in (packed, plain))
    print(
        f"{len(batch.groups)} prompts, {len(batch.aspect_N)} segments: packed {fast:.4f} s, one forward each {slow:.4f} s,"
    )
    print(f"ratio {slow / fast:.1f}; largest difference of a score: {difference:.1e}")


def _median(run: Callable[[], torch.Tensor]) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
