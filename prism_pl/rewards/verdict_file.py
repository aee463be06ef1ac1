"""Verdicts on disk: a line each, appended as they come, shared by the processes of a run, by runs and by those resumed.

{"key": "5e1f...", "right": true, "question": "...", "true_answer": "a cat", "answer": "one small cat", "model": "..."}
"""

import json
from pathlib import Path
from typing import Any

from prism_pl.errors import UserError
from prism_pl.runs.files import append_lines, only_writer


class VerdictFile:
    """The first verdict on a key stays, whichever process it is from.

    Args:
        file: created with the first verdict.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._known: dict[str, bool] = {}
        self._position = 0

    def refresh(self) -> dict[str, bool]:
        """All verdicts by key, those that other processes have added since included."""
        size = self.file.stat().st_size if self.file.exists() else 0
        if size < self._position:
            self._known, self._position = {}, 0  # it was removed, or replaced by a smaller one
        if size > self._position:
            with self.file.open("rb") as file:
                file.seek(self._position)
                text = file.read()
            # A last line may be on its way, or be cut by a kill.
            whole = text[: text.rfind(b"\n") + 1]
            for line in whole.splitlines():
                key, right = self._read(line)
                self._known.setdefault(key, right)
            self._position += len(whole)
        return self._known

    def add(self, key: str, right: bool, about: dict[str, Any]) -> bool:
        """Keeps a verdict, safe from a power cut, and gives the one that holds: another process may have been first."""
        with only_writer(self.file):
            if key not in self.refresh():
                append_lines(self.file, [json.dumps({"key": key, "right": right} | about)], durable=True)
            return self.refresh()[key]

    def _read(self, line: bytes) -> tuple[str, bool]:
        try:
            content = json.loads(line)
            key, right = content["key"], content["right"]
        except (ValueError, KeyError, TypeError):
            key = right = None
        if not isinstance(key, str) or not isinstance(right, bool):
            raise UserError(
                f"JudgeReward.cache: {self.file} has a line that is no verdict: {line.decode(errors='replace')!r:.120}. "
                f"Remove the line, or name another file."
            )
        return key, right
