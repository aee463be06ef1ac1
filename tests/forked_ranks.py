"""Two ranks, each a process of its own that knows nothing of this one's process group."""

import multiprocessing
from collections.abc import Callable
from typing import Any


def on_two_ranks(function: Callable[..., None], *arguments: Any) -> None:
    """Runs ``function(rank, *arguments)`` on both. Fails if one fails, or waits for the other in vain."""
    # Of a clean server: a fork of this process would inherit the process group that an earlier fit may have left.
    context = multiprocessing.get_context("forkserver")
    ranks = [context.Process(target=function, args=(rank, *arguments)) for rank in range(2)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(120)
        hung = process.is_alive()
        process.kill()
        assert not hung, "a rank waits for the other"
        assert process.exitcode == 0
