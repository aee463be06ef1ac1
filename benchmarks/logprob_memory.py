"""Peak memory of log-probabilities and their gradient at Qwen's vocabulary: chunks against full logits.

python -m benchmarks.logprob_memory
"""

import sys

import torch

from benchmarks.measure import child, measured
from prism_pl.model.logprobs import token_logprobs

TOKENS, HIDDEN, VOCABULARY = 2048, 64, 151_936


def work_of(kind: str) -> None:
    generator = torch.Generator().manual_seed(0)
    head = torch.nn.Linear(HIDDEN, VOCABULARY, bias=False)
    hidden_NH = torch.randn(TOKENS, HIDDEN, generator=generator).requires_grad_()
    target_N = torch.randint(0, VOCABULARY, (TOKENS,), generator=generator)

    def work() -> None:
        if kind == "full":
            logits_NV = head(hidden_NH).float()
            logp_N = torch.log_softmax(logits_NV, -1).gather(-1, target_N[:, None]).squeeze(-1)
        else:
            logp_N, _ = token_logprobs(hidden_NH, target_N, head)
        logp_N.sum().backward()

    child(work, 3)


def main() -> None:
    full, chunks = (measured("benchmarks.logprob_memory", kind) for kind in ("full", "chunks"))
    print(f"{TOKENS} tokens, vocabulary {VOCABULARY}: full logits {full['mib']:.0f} MiB, {full['seconds']:.2f} s;")
    print(f"chunks {chunks['mib']:.0f} MiB, {chunks['seconds']:.2f} s; memory ratio {full['mib'] / chunks['mib']:.1f}")


if __name__ == "__main__":
    work_of(sys.argv[1]) if len(sys.argv) > 1 else main()
