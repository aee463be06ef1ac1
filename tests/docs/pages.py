"""What the pages hold that a test can look at: commands, and tables of keys."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAMS = ("git", "hf", "if", "make", "pip", "pytest", "python", "scontrol", "source", "srun", "torchrun", "vllm")
"""What a command begins with, after variables of its environment."""
PLACEHOLDERS = {"NAME": "DAPO", "S": "0"}
"""Words of the pages that a reader replaces, and what a test takes for them."""
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*=")
_INLINE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Command:
    """One command of a page, on one line."""

    page: str
    line: int
    """Of its first word, from 1."""
    text: str

    @property
    def words(self) -> list[str]:
        """Without variables and comment, placeholders replaced."""
        words = shlex.split(self.text, comments=True)
        while words and _VARIABLE.match(words[0]):
            del words[0]
        for place, value in PLACEHOLDERS.items():
            words = [re.sub(rf"(^|=){place}$", rf"\g<1>{value}", word) for word in words]
        return words

    def __str__(self) -> str:
        return f"{self.page}:{self.line}: {self.text}"


def commands() -> list[Command]:
    """All of README.md and docs/, in blocks and in the text; the same words once."""
    found: dict[str, Command] = {}
    for page in PAGES:
        for line, text in [*_in_blocks(page.read_text()), *_in_text(page.read_text())]:
            command = Command(str(page.relative_to(ROOT)), line, text)
            found.setdefault(" ".join(command.words), command)
    return list(found.values())


def blocks(text: str) -> Iterator[tuple[int, list[str]]]:
    """Code blocks, fenced or indented, with the number of their first line; an indented one follows an empty line."""
    own: list[str] = []
    fenced = before_empty = False
    for number, line in enumerate([*text.splitlines(), ""], 1):
        if line.startswith("```"):
            if own:
                yield number - len(own), own
            own, fenced = [], not fenced
        elif fenced:
            own.append(line)
        elif line.startswith("    ") and (own or before_empty):
            own.append(line[4:])
        elif own:
            yield number - len(own), own
            own = []
        before_empty = not line.strip()


def _in_blocks(text: str) -> Iterator[tuple[int, str]]:
    for start, lines in blocks(text):
        joined, begun = "", start
        for number, line in enumerate(lines, start):
            joined += line.strip()
            if joined.endswith("\\"):
                joined = joined[:-1]
                continue
            if _is_command(joined):
                yield begun, joined
            joined, begun = "", number + 1


def _in_text(text: str) -> Iterator[tuple[int, str]]:
    """Code between backticks that is a program and what it is given; a bare name is none."""
    for match in _INLINE.finditer(text):
        inner = " ".join(match[1].split())
        if _is_command(inner) and " " in inner:
            yield text[: match.start()].count("\n") + 1, inner


def _is_command(text: str) -> bool:
    words = text.split()
    while words and _VARIABLE.match(words[0]):
        del words[0]
    return bool(words) and words[0] in PROGRAMS


@dataclass(frozen=True)
class Row:
    """A row of a table that names keys of two programs."""

    heading: str
    """The section's, without marks."""
    owner: str
    """What the second column's head says ours belong to: a configuration, or a command."""
    theirs: list[str]
    ours: list[str]
    note: str


def key_rows(page: Path) -> list[Row]:
    """The rows of all tables whose second column is headed by a configuration or a command in backticks."""
    rows, heading, owner = [], "", None
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")] if line.startswith("|") else []
        if line.startswith("#"):
            heading = line.strip("# ").replace("`", "")
        if not cells:
            owner = None
        elif owner is None:
            owner = cells[1].strip("`") if cells[1].startswith("`") and len(cells) == 3 else ""
        elif owner and not cells[0].startswith("---"):
            rows.append(Row(heading, owner, _INLINE.findall(cells[0]), _INLINE.findall(cells[1]), cells[2].strip("| ")))
    return rows
