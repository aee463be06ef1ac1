"""Records of held-out prompts, made by hand."""

from prism_pl.study.answers import Answered, Graded


def response(items: int, steps: int) -> str:
    caption, think = "\n".join(["- item"] * items), "\n".join(["step"] * steps)
    return f"<caption>\n{caption}\n</caption>\n<think>\n{think}\n</think>\n<answer>\n1\n</answer>"


def answered(row: int, greedy: float, scores: list[float], texts: list[str], teacher: str | None = None) -> Answered:
    """The k-th sample has 10 (k + 1) tokens; the nucleus sample scores as the first one."""
    sampled = tuple(Graded(text, 10 * (k + 1), score) for k, (text, score) in enumerate(zip(texts, scores, strict=True)))
    return Answered(
        row, f"file:{row + 1}", teacher, None if teacher is None else 20, Graded("", 5, greedy), sampled, sampled[0]
    )
