"""No answer is accepted that one change has made wrong: every gold of the tables, every change of one sign."""

from prism_pl.verification import Question, agree
from tests.prism_pl.verification.adversarial import ADVERSARIAL
from tests.prism_pl.verification.cases import ALL, CHOICES
from tests.prism_pl.verification.formulas import FORMULAS
from tests.prism_pl.verification.golds import GOLDS
from tests.prism_pl.verification.measured import MEASURED
from tests.prism_pl.verification.mutations import mutants
from tests.prism_pl.verification.spoken import SPOKEN

# A choice is told by its letter; what decorates it is no part of the answer. tests: spoken.py.
_LETTERS = {text for *texts, _ in CHOICES for text in texts} | {
    row[0]
    for kind in ("choices with reasons", "several letters", "choices and verdicts")
    for row in (SPOKEN | ADVERSARIAL)[kind]
}
_TABLES = {row[0] for tables in (MEASURED, SPOKEN, FORMULAS, ADVERSARIAL) for rows in tables.values() for row in rows}
# Right predictions are golds, too.
_TABLES |= {text for rows in FORMULAS.values() for row in rows for text in row[1]}
_TABLES |= {text for _, text, verdict in ALL if verdict}


def _is_quick(gold: str) -> bool:
    """Not one whose every mutant runs into the time limit."""
    return len(gold) < 200 and "9^{9^" not in gold


def test_no_mutant_of_a_gold_is_accepted() -> None:
    golds = sorted(gold for gold in ({answer for answer, _, _ in ALL} | _TABLES | set(GOLDS)) - _LETTERS if _is_quick(gold))
    pairs = [(gold, mutant, kind) for gold in golds for mutant, kind in mutants(gold).items()]
    assert len(pairs) >= 5000
    assert {kind for *_, kind in pairs} == {
        "sign",
        "operator",
        "relation",
        "point",
        "digit",
        "exponent",
        "bracket",
        "order",
    }
    verdicts = agree([Question(mutant, gold) for gold, mutant, _ in pairs])
    accepted = {(gold, mutant) for (gold, mutant, _), verdict in zip(pairs, verdicts, strict=True) if verdict}
    assert accepted == EQUAL.keys(), accepted ^ EQUAL.keys()


_ZERO, _EVEN = "zero has no sign", "a sign under an even function or power"
EQUAL: dict[tuple[str, str], str] = {
    ("-0", "+0"): _ZERO,
    ("-0", "0"): _ZERO,
    ("0.0", "00"): "zero without its point is zero",
    ("-3 1/2", "-3 -1/2"): "-3 - 1/2 is the mixed number -3 1/2",
    (r"\binom{5}{2}", r"\binom{5}{3}"): "both are 10",
    ("x=\\pm 2", "-x=\\pm 2"): "the same two solutions",
    ("2|x|", "2|-x|"): _EVEN,
    ("|x|", "|-x|"): _EVEN,
    ("(e^x)^2", "(-e^x)^2"): _EVEN,
    (r"\cos\frac{\pi}{7}", r"\cos\frac{\pi}{-7}"): _EVEN,
    (r"\cos^2 x-\sin^2 x", r"\cos^2 -x-\sin^2 x"): _EVEN,
    (r"\cos^2 x-\sin^2 x", r"\cos^2 x-\sin^2 -x"): _EVEN,
    (r"\sin^2 x + \cos^2 x", r"\sin^2 -x + \cos^2 x"): _EVEN,
    (r"\sin^2 x + \cos^2 x", r"\sin^2 x + \cos^2 -x"): _EVEN,
    (r"\sec^2(y)", r"\sec^2(-y)"): _EVEN,
    (r"\tan^2(y)+1", r"\tan^2(-y)+1"): _EVEN,
    (r"1+\tan^2 y", r"1+\tan^2 -y"): _EVEN,
}
