"""Is an answer right? Spellings, choices, quantities, sentences, and mathematics in worker processes. Free of torch."""

from prism_pl.verification.choices import choice_letter
from prism_pl.verification.pool import Question, Verdict, agree, answers_agree, verdicts
from prism_pl.verification.quantities import Quantity, parse_quantity

__all__ = ["Quantity", "Question", "Verdict", "agree", "answers_agree", "choice_letter", "parse_quantity", "verdicts"]
