"""Is an answer right? Text forms, choices, quantities with units, and mathematics in a worker process. Free of torch."""

from prism_pl.rewards.verification.agreement import answers_agree
from prism_pl.rewards.verification.choices import choice_letter
from prism_pl.rewards.verification.quantities import Quantity, parse_quantity

__all__ = ["Quantity", "answers_agree", "choice_letter", "parse_quantity"]
