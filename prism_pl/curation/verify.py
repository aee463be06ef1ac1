"""Is a teacher's response a demonstration? Only if its format is strict and its answer is right."""

from prism_pl.curation.ledger import MALFORMED, VERIFIED, WRONG, Verdict
from prism_pl.data.rows import PromptRow
from prism_pl.endpoint import Answer
from prism_pl.errors import UserError
from prism_pl.rewards import Reward
from prism_pl.segments import SECTION_NAMES, parse_response

_SHOWN = 80


def verify(answer: Answer, row: PromptRow, reward: Reward) -> Verdict:
    """``verified`` if the sections are well-formed and the reward is 1. Raises UserError naming the row."""
    sections = parse_response(answer.text)
    if sections is None:
        cut = ", cut at the length limit" if answer.finish_reason == "length" else ""
        problem = "no text" if not answer.text.strip() else f"not the sections {', '.join(SECTION_NAMES)}"
        return Verdict(MALFORMED, problem + cut)
    try:
        answers = (row.answer or "", *row.also_right)
        score = max(reward(answer.text, true, row.options, row.question) for true in answers)
    except UserError as error:
        raise UserError(f"{row.source}: {error}") from None
    return Verdict(VERIFIED) if score >= 1 else Verdict(WRONG, f"the answer is {sections.answer[:_SHOWN]!r}")
