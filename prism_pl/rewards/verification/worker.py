"""A script of its own, run by its path: reads a pair a line, answers 1 or 0. Free of torch, for a quick start."""

import json
import logging
import resource
import signal
import sys
import warnings

_BYTES = 2 * 2**30


def main() -> None:
    """Until the input ends, so that no worker outlives its trainer."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    from math_verify import parse, verify

    resource.setrlimit(resource.RLIMIT_AS, (_BYTES, _BYTES))
    # The first comparison fills caches for seconds; it belongs to the start, not to an answer.
    first, second = (parse(text, parsing_timeout=None) for text in ("\\boxed{\\frac{x}{2}}", "\\boxed{(1, 2)}"))
    verify(first, second, timeout_seconds=None)
    replies, sys.stdout = sys.stdout, sys.stderr
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        prediction, answer, seconds = json.loads(line)
        # Processor time, so that a busy machine costs no answer; the system ends the process, whatever it is in.
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            # Their timeouts are off: they are signals, and the parent has a better one.
            said, true = (parse(f"\\boxed{{{text}}}", parsing_timeout=None) for text in (prediction, answer))
            # An inequality may stand for an interval on either side.
            verdict = bool(verify(true, said, timeout_seconds=None, allow_set_relation_comp=True))
        except (Exception, RecursionError, MemoryError):
            verdict = False
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(int(verdict), file=replies, flush=True)


if __name__ == "__main__":
    main()
