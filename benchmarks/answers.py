"""Verdicts on the 512 answers of a step: ours, math-verify alone and TRL's reward, with one process and with four.

    python -m benchmarks.answers

Prints seconds, answers per second, and how many of the verdicts are the ones of the tables. Each side runs in a process of
its own, or in four that share out the answers, which have judged one expression before. math-verify gets both answers in
dollar signs; TRL's reward, which is math-verify with other options, gets the answer in a box. Ours remembers verdicts; here
no answer comes twice.
"""

import json
import multiprocessing
import random
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import chain, product

from math_verify import parse, verify
from trl.rewards import accuracy_reward

from benchmarks.measure import measured
from prism_pl.verification import Question, agree
from tests.prism_pl.verification.cases import ALL, HOSTILE, Case
from tests.prism_pl.verification.formulas import FORMULAS
from tests.prism_pl.verification.measured import MEASURED
from tests.prism_pl.verification.spoken import SPOKEN

ANSWERS = 512
MATHS = ("left sides", "unions", "matrices", "spacing", "expressions", "ratios and lists", "rounded", "repeating decimals")
"""Kinds that math-verify is meant for, too."""


ROUNDS = 3
SIDES = ("math-verify", "trl", "ours")


def main() -> None:
    if len(sys.argv) > 1:
        side, processes, which = sys.argv[1:]
        print(json.dumps(_timed(side, int(processes), which)))
        return
    for which in ("mathematics", "everything"):
        kinds = list(product(("1", "4"), SIDES))
        # Several rounds in turns, of which the fastest counts: the machine may be busy.
        rounds = [[measured("benchmarks.answers", side, number, which) for number, side in kinds] for _ in range(ROUNDS)]
        for (number, side), results in zip(kinds, zip(*rounds, strict=True), strict=True):
            best = min(results, key=lambda result: result["seconds"])
            rate, right = best["answers"] / best["seconds"], best["right"] / best["answers"]
            name = f"{which:12s} {side:12s} {number} processes"
            print(f"{name} {best['seconds']:7.2f} s {rate:7.1f} answers/s  right {right:.3f}", flush=True)


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


def _timed(side: str, processes: int, which: str) -> dict[str, float]:
    cases = _cases(which)
    first = [("x+1", f"{n}+x", True) for n in range(4 * processes)]
    if side == "ours" or processes == 1:
        return _result(cases, lambda some: _verdicts(side, some, processes), first)
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        shared = partial(_verdicts, side, processes=1)
        return _result(cases, lambda some: [*chain(*pool.imap(shared, ([case] for case in some), chunksize=4))], first)


def _result(cases: list[Case], judge: Callable[[list[Case]], list[bool]], first: list[Case]) -> dict[str, float]:
    judge(first)
    start = time.perf_counter()
    verdicts = judge(cases)
    seconds = time.perf_counter() - start
    right = sum(verdict is case[2] for verdict, case in zip(verdicts, cases, strict=True))
    return {"seconds": seconds, "answers": len(cases), "right": right}


def _verdicts(side: str, cases: list[Case], processes: int) -> list[bool]:
    if side == "ours":
        return agree([Question(text, gold) for gold, text, _ in cases], processes)
    if side == "trl":
        said = [[{"role": "assistant", "content": rf"\boxed{{{text}}}"}] for _, text, _ in cases]
        return [bool(reward) for reward in accuracy_reward(said, [f"${gold}$" for gold, _, _ in cases])]
    return [verify(parse(f"${gold}$"), parse(f"${text}$")) for gold, text, _ in cases]


if __name__ == "__main__":
    main()
