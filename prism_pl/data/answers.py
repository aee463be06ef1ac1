"""The true answers of a row: ``answer``, ``ground_truth``, ``reward_model.ground_truth`` (verl) or ``solution`` (TRL).

A list holds several, any of which counts. ``{"target": ...}`` is what it holds.
"""

import re
from collections.abc import Mapping, Set
from typing import Any

from prism_pl.data.reading import check_text, is_empty
from prism_pl.errors import UserError, shown

_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*\{")


def true_answers(row: Mapping[str, Any], source: str, ignore: Set[str]) -> tuple[str, ...]:
    """All true answers of a row whose columns have our names, the first one first; none if it has no answer.

    Raises UserError for an answer that is neither a scalar nor a list of them, and for two columns that differ.
    """
    nested = row.get("reward_model")
    columns = {name: row[name] for name in ("answer", "ground_truth") if name in row}
    if isinstance(nested, dict) and "ground_truth" not in ignore and not is_empty(nested.get("ground_truth")):
        columns["reward_model.ground_truth"] = nested["ground_truth"]
    if not columns and "solution" in row:
        return tuple(map(_final, _texts(row["solution"], "solution", source)))
    found = {name: tuple(map(_untagged, _texts(value, name, source))) for name, value in columns.items()}
    found = {name: answers for name, answers in found.items() if answers}
    if len(set(found.values())) > 1:
        (one, first), (other, second) = list({answers: (name, answers) for name, answers in found.items()}.values())[:2]
        raise UserError(
            f"{source}: `{one}` is {shown(first)}, `{other}` is {shown(second)}. Say which one is not to be read with "
            f"`ignore: [{one}]` or `ignore: [{other.rpartition('.')[2]}]` of the data source."
        )
    return next(iter(found.values()), ())


def _texts(value: Any, name: str, source: str) -> tuple[str, ...]:
    """The scalars of a column as texts, without empty ones."""
    if isinstance(value, dict):
        own = {key: inner for key, inner in value.items() if not is_empty(inner)}
        if own.keys() != {"target"}:
            raise _no_answer(value, name, source)
        value = own["target"]
    values = value if isinstance(value, list) else [value]
    wrong = next((part for part in values if not isinstance(part, str | bool | int | float | None)), None)
    if wrong is not None:
        raise _no_answer(value, name, source)
    texts = tuple(str(part) for part in values if not is_empty(part))
    check_text("".join(texts), source, f"`{name}`")
    return texts


def _no_answer(value: Any, name: str, source: str) -> UserError:
    last = name.rpartition(".")[2]
    return UserError(
        f"{source}: `{name}` is neither a text, a number nor a list of these, but {shown(value)}. Say which part of it is "
        f"the answer with `columns: {{answer: {name}.PART}}` of the data source; or leave it out with `ignore: [{last}]`."
    )


def _untagged(text: str) -> str:
    """What stands between answer tags, if there is one pair (as in R1-V's files)."""
    tagged = _TAGGED.findall(text)
    return tagged[0].strip() if len(tagged) == 1 and tagged[0].strip() else text


def _final(text: str) -> str:
    """The answer of a worked solution: what is tagged, or the last box; the whole text if it has neither (as in TRL)."""
    text = _untagged(text)
    starts = [match.end() for match in _BOX.finditer(text)]
    if not starts:
        return text
    depth = 1
    for index, character in enumerate(text[starts[-1] :], starts[-1]):
        depth += (character == "{") - (character == "}")
        if not depth:
            return text[starts[-1] : index].strip() or text
    return text
