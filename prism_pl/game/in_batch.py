"""Pairs of teachers alone, alike in style: only who looks at image and question can tell them apart.

    T_q = D(y_q | x_q): a teacher's response under its own prompt        W_pq = D(y_q | x_p): under another prompt
    mean over (p, q) of  1/2 [-log sigma(T_p - W_pq)] + 1/2 [-log sigma(T_q - W_pq)] + penalty

The first half asks which response belongs to a prompt (matching-aware, arXiv 1605.05396); the second asks which prompt a
response belongs to, so that what a prompt adds to all its scores cannot help (both directions, as in arXiv 2103.00020). It
costs no forward pass: T_q is scored anyway.
"""

from collections import Counter
from collections.abc import Sequence

import torch
import torch.nn.functional as F


def negative_indices(teachers: Sequence[str], images: Sequence[tuple[str, ...]], count: int) -> list[list[int]]:
    """For each prompt of a batch the ``count`` others whose teachers' responses are most like its own teacher's.

    Likeness is the share of common words, |a & b| / |a | b| as multisets; of equals the next in the batch comes first. The
    most alike ask what the policy's own mistakes will ask: answers to another kind of question are told apart without a
    look at the image.

    Nobody's own response, no response twice and none about the prompt's own image (it would be right); -1 where the batch
    has fewer. ``teachers`` and ``images`` (paths) are those of the whole batch, over all ranks.
    """
    words = [Counter(teacher.split()) for teacher in teachers]
    result = []
    for p, own in enumerate(teachers):
        first: dict[str, int] = {}
        for q in [*range(p + 1, len(teachers)), *range(p)]:
            if teachers[q] != own and not (images[p] and images[q] == images[p]):
                first.setdefault(teachers[q], q)
        others = sorted(first.values(), key=lambda q: -_likeness(words[p], words[q]))[:count]
        result.append(others + [-1] * (count - len(others)))
    return result


def _likeness(a: Counter[str], b: Counter[str]) -> float:
    return (a & b).total() / max((a | b).total(), 1)


def across_loss(teacher_QK: torch.Tensor, wrong_QJK: torch.Tensor, negative_QJ: torch.Tensor) -> torch.Tensor:
    """The second half, mean over pairs and summed over aspects, of a batch's Q prompts on all ranks.

    T_q and W_pq may lie on two ranks, so there are no shares: each rank computes all and differentiates its own scores.
    """
    valid_QJ = negative_QJ >= 0
    margin_MK = (teacher_QK[negative_QJ] - wrong_QJK)[valid_QJ]
    return -F.logsigmoid(margin_MK).sum() / max(len(margin_MK), 1)
