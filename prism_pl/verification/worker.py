"""A script of its own, run by its path: reads a question a line, answers 1 or 0. Free of torch, for a quick start."""

import json
import logging
import resource
import signal
import sys
import warnings
from pathlib import Path

_BYTES = 2 * 2**30


def main() -> None:
    """Until the input ends, so that no worker outlives its trainer."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from prism_pl.verification.agreement import Agreement
    from prism_pl.verification.mathematics import equal_mathematics

    resource.setrlimit(resource.RLIMIT_AS, (_BYTES, _BYTES))
    agreements = {words: Agreement(equal_mathematics, words) for words in (None, False, True)}
    # The first comparisons fill caches for seconds; they belong to the start, not to an answer.
    for prediction, answer in ((r"\frac{x}{2} + \sqrt{2}", "x/2+1"), ("x > 2", r"(2, \infty)")):
        agreements[None](prediction, answer)
    replies, sys.stdout = sys.stdout, sys.stderr
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        prediction, answer, options, words, seconds = json.loads(line)
        # Processor time, so that a busy machine costs no answer; the system ends the process, whatever it is in. One limit
        # for the whole answer: a list may ask for a comparison of each member with each.
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            verdict = agreements[words](prediction, answer, options)
        except (Exception, RecursionError, MemoryError):
            verdict = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(int(verdict), file=replies, flush=True)


if __name__ == "__main__":
    main()
