"""Mathematics that is no plain number: expressions by their values, relations and sets by their solutions."""

from prism_pl.verification.expressions import equal_values
from prism_pl.verification.solutions import equal_solutions


def equal_mathematics(said: str, true: str) -> bool:
    """True if two canonical texts are equal. May take any time and memory: only a worker process may call it."""
    return equal_values(said, true) or equal_solutions(said, true)
