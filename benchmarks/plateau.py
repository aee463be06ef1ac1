"""Where does the reward gap stand still when teacher and policy can be told apart perfectly?

    python benchmarks/plateau.py            # a table, and docs/plateau.png

A frozen policy (the embedded task's terse annotator, told from the teacher by style alone) against a discriminator that is
trained until its gap stands, for three score penalties c. Prediction: sigma(-g) = c g / 4; without a penalty no end.
"""

import random
from functools import partial
from pathlib import Path

import matplotlib
import torch

from prism_pl.data.conversation import PromptEncoder
from prism_pl.data.files import DataFile
from prism_pl.discriminators import DenseDiscriminator
from prism_pl.embedded import EMBEDDED_NAME
from prism_pl.embedded.demonstrations import QUESTIONS, Scene, public_response
from prism_pl.game import DiscriminatorLossOptions, learn_without_stage, make_discriminator_batch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

PENALTIES, STEPS, PROMPTS, RESPONSES, MAX_TOKENS = (0.0, 0.001, 0.01), 240, 8, 4, 8192


def predicted_gap(penalty: float) -> float:
    """The root of sigma(-g) = c g / 4, by bisection."""
    low, high = 0.0, 50.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if 1 / (1 + 2.718281828459045**middle) > penalty * middle / 4 else (low, middle)
    return low


def play(penalty: float) -> list[float]:
    """The mean gap of both heads at each step."""
    encoder = PromptEncoder(EMBEDDED_NAME, 256)
    data = DataFile.open(f"{EMBEDDED_NAME}/align.jsonl", "benchmark")
    scorer = DenseDiscriminator(width=1).build(EMBEDDED_NAME, "benchmark")
    optimizer = torch.optim.AdamW(scorer.parameters(), lr=1e-3, weight_decay=0.0)
    options, rng, gaps = DiscriminatorLossOptions(score_penalty=penalty), random.Random(0), []
    for _ in range(STEPS):
        prompts = encoder.encode([data.prompt_row(rng.randrange(len(data))) for _ in range(PROMPTS)])
        texts = [[_terse(rng) for _ in range(RESPONSES)] for _ in prompts]
        shown = make_discriminator_batch(prompts, texts, encoder.tokenizer, scorer.reading)
        objective = partial(shown.loss, num_pairs=shown.num_pairs(), options=options)
        score_N = learn_without_stage(scorer, shown.scoring, objective, optimizer, MAX_TOKENS)
        gaps.append(shown.fresh(score_N).margin_MK.mean().item())
    return gaps


def _terse(rng: random.Random) -> str:
    digits = (rng.randrange(10), rng.randrange(10), rng.randrange(10))
    return public_response(rng.choice(list(QUESTIONS)), Scene(digits, (True, True, True)), rng)


def main() -> None:
    figure, axes = plt.subplots(figsize=(7, 4))
    print("| penalty c | predicted gap | gap, mean of the last 40 steps |\n| --- | --- | --- |")
    for penalty in PENALTIES:
        gaps = play(penalty)
        (line,) = axes.plot(gaps, label=f"c = {penalty:g}")
        expected = f"{predicted_gap(penalty):.2f}" if penalty else "none"
        if penalty:
            axes.axhline(predicted_gap(penalty), color=line.get_color(), linestyle="--", linewidth=1)
        print(f"| {penalty:g} | {expected} | {sum(gaps[-40:]) / 40:.2f} |", flush=True)
    axes.set_xlabel("update of the discriminator, policy frozen")
    axes.set_ylabel("reward gap")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(Path("docs") / "plateau.png", dpi=110)


if __name__ == "__main__":
    main()
