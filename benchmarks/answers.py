"""Verdicts on the 512 answers of a step: ours with one and with two processes, against math-verify alone.

    python -m benchmarks.answers

Prints seconds, answers per second, and how many of the verdicts are the ones of the tables. Each side runs in a process of
its own, in which it has judged one expression before. Ours remembers verdicts; here no answer comes twice.
"""

import json
import random
import sys
import time

from benchmarks.measure import measured
from tests.prism_pl.verification.cases import ALL, HOSTILE, Case
from tests.prism_pl.verification.formulas import FORMULAS
from tests.prism_pl.verification.measured import MEASURED
from tests.prism_pl.verification.spoken import SPOKEN

ANSWERS = 512
MATHS = ("left sides", "unions", "matrices", "spacing", "expressions", "ratios and lists", "rounded", "repeating decimals")
"""Kinds that math-verify is meant for, too."""


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(_judge(sys.argv[1], sys.argv[2])))
        return
    for which in ("mathematics", "everything"):
        for side in ("math-verify", "1", "2"):
            result = measured("benchmarks.answers", side, which)
            rate, right = result["answers"] / result["seconds"], result["right"] / result["answers"]
            name = side if side == "math-verify" else f"ours, {side} processes"
            print(f"{which:12s} {name:18s} {result['seconds']:7.2f} s {rate:7.1f} answers/s  right {right:.3f}")


def _cases(which: str) -> list[Case]:
    tables = MEASURED | SPOKEN | FORMULAS
    kinds = MATHS if which == "mathematics" else tuple(tables)
    rows = [row for kind in kinds for row in tables[kind] if "9^{9" not in row[0]]
    cases = {
        (gold, text, verdict)
        for gold, *sides in rows
        for verdict, side in zip((True, False), sides, strict=True)
        for text in side
    }
    cases |= set() if which == "mathematics" else set(ALL) - set(HOSTILE)
    return random.Random(0).sample(sorted(cases), min(ANSWERS, len(cases)))


def _judge(side: str, which: str) -> dict[str, float]:
    cases = _cases(which)
    if side == "math-verify":
        from math_verify import parse, verify

        def judge(some: list[Case]) -> list[bool]:
            return [verify(parse(f"${gold}$"), parse(f"${text}$")) for gold, text, _ in some]
    else:
        from prism_pl.verification import Question, agree

        def judge(some: list[Case]) -> list[bool]:
            return agree([Question(text, gold) for gold, text, _ in some], int(side))

    judge([("x+1", f"{n}+x", True) for n in range(4)])
    start = time.perf_counter()
    verdicts = judge(cases)
    seconds = time.perf_counter() - start
    right = sum(verdict is case[2] for verdict, case in zip(verdicts, cases, strict=True))
    return {"seconds": seconds, "answers": len(cases), "right": right}


if __name__ == "__main__":
    main()
