"""Time and peak memory of log-probabilities and their gradient at Qwen's vocabulary: tiles against full logits.

    python -m benchmarks.logprob_memory

Of full logits the log-probabilities alone are taken. Tiles give entropies, too: ``token_logprobs`` for any loss, and
``log_likelihood`` for the sum. Prints seconds of processor time, which other processes lengthen little, and ratios.
"""

import sys

import torch

from benchmarks.measure import child, measured
from prism_pl.model.logprobs import log_likelihood, token_logprobs

TOKENS, VOCABULARY, WIDTHS = 2048, 151_936, (64, 512)
KINDS = ("full", "token_logprobs", "log_likelihood")


def work_of(kind: str, width: int) -> None:
    generator = torch.Generator().manual_seed(0)
    head = torch.nn.Linear(width, VOCABULARY, bias=False)
    hidden_NH = torch.randn(TOKENS, width, generator=generator).requires_grad_()
    target_N = torch.randint(0, VOCABULARY, (TOKENS,), generator=generator)

    def total() -> torch.Tensor:
        if kind == "full":
            logits_NV = head(hidden_NH).float()
            return torch.log_softmax(logits_NV, -1).gather(-1, target_N[:, None]).sum()
        if kind == "token_logprobs":
            return token_logprobs(hidden_NH, target_N, head.weight)[0].sum()
        return log_likelihood(hidden_NH, target_N, head.weight)[0]

    def work() -> None:
        head.weight.grad = hidden_NH.grad = None
        total().backward()

    child(work, 3)


def main() -> None:
    print(f"{TOKENS} tokens, vocabulary {VOCABULARY}, {torch.get_num_threads()} threads\n")
    print("| width | | processor s | against full | MiB | against full |")
    print("| --- | --- | --- | --- | --- | --- |")
    for width in WIDTHS:
        found = {kind: measured("benchmarks.logprob_memory", kind, str(width)) for kind in KINDS}
        for kind, own in found.items():
            time, memory = (own[key] / found["full"][key] for key in ("processor", "mib"))
            print(
                f"| {width} | {kind} | {own['processor']:.2f} | {time:.2f} | {own['mib']:.0f} | {memory:.2f} |", flush=True
            )


if __name__ == "__main__":
    work_of(sys.argv[1], int(sys.argv[2])) if len(sys.argv) > 1 else main()
