"""What was asked and answered: a line on disk for each try, as it comes, and the figures over all of them.

{"row": 3, "try": 0, "verdict": "wrong", "reason": "the answer is '7'", "response": "<caption>...", ...}
"""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from prism_pl.endpoint import Answer
from prism_pl.runs.files import append_lines, read_lines

VERIFIED, MALFORMED, WRONG = "verified", "malformed", "wrong"


@dataclass(frozen=True)
class Verdict:
    """What a teacher's text is worth."""

    kind: str
    """``verified``, ``malformed`` or ``wrong``."""
    reason: str | None = None
    """Why it is not verified."""


class Ledger:
    """The tries of a folder, those of earlier runs included. A try is on disk, safe from a power cut, before it counts."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.spent: Counter[int] = Counter()
        """Tries a row."""
        self.verified: set[int] = set()
        """Rows with a verified response."""
        self.verdicts: Counter[str] = Counter()
        """Tries a verdict."""
        self.prompt_tokens = self.completion_tokens = 0
        self.unmetered = 0
        """Answers whose tokens the endpoint did not tell."""
        for line in read_lines(file):
            self._count(line["row"], line["verdict"], line["prompt_tokens"], line["completion_tokens"])

    def add(self, row: int, answer: Answer, verdict: Verdict) -> None:
        """Records the row's next try."""
        line = {
            "row": row,
            "try": self.spent[row],
            "verdict": verdict.kind,
            "reason": verdict.reason,
            "response": answer.text,
            "finish_reason": answer.finish_reason,
            "prompt_tokens": answer.prompt_tokens,
            "completion_tokens": answer.completion_tokens,
        }
        append_lines(self.file, [json.dumps(line)], durable=True)
        self._count(row, verdict.kind, answer.prompt_tokens, answer.completion_tokens)

    def is_done(self, row: int, tries: int) -> bool:
        """True if the row has a verified response or has used up its tries."""
        return row in self.verified or self.spent[row] >= tries

    def responses(self) -> dict[int, str]:
        """The verified response of each row that has one."""
        return {line["row"]: line["response"] for line in read_lines(self.file) if line["verdict"] == VERIFIED}

    def _count(self, row: int, verdict: str, prompt_tokens: int | None, completion_tokens: int | None) -> None:
        self.spent[row] += 1
        self.verdicts[verdict] += 1
        if verdict == VERIFIED:
            self.verified.add(row)
        self.prompt_tokens += prompt_tokens or 0
        self.completion_tokens += completion_tokens or 0
        self.unmetered += prompt_tokens is None or completion_tokens is None
