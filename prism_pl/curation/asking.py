"""A teacher is asked for many rows at once; each response is verified as it comes, and a row is asked until it is done."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from tqdm import tqdm

from prism_pl.curation.ledger import MALFORMED, VERIFIED, WRONG, Ledger
from prism_pl.curation.messages import chat_messages
from prism_pl.curation.verify import verify
from prism_pl.data.files import DataFile
from prism_pl.endpoint import MOST_FAILURES, Endpoint, EndpointOptions, Workers
from prism_pl.errors import UserError
from prism_pl.rewards import Reward
from prism_pl.seeds import derive_seed

_Value = TypeVar("_Value")


class Asking:
    """One run over the rows that the ledger does not have as done."""

    def __init__(
        self, data: DataFile, options: EndpointOptions, reward: Reward, ledger: Ledger, tries: int, seed: int
    ) -> None:
        self.data, self.options, self.reward, self.ledger = data, options, reward, ledger
        self.tries, self.seed = tries, seed
        self.num_answers = 0
        self.workers = Workers[int](options)
        # The data file has one reader; and verification has one process, which would be waited for in any case.
        self._reader, self._verifier = ThreadPoolExecutor(1), ThreadPoolExecutor(1)

    def run(self, rows: Sequence[int]) -> None:
        """Returns when each row is done, or the endpoint has failed it. Raises UserError for what no retry can mend."""
        todo = [row for row in rows if not self.ledger.is_done(row, self.tries)]
        if todo:
            with tqdm(total=len(rows), initial=len(rows) - len(todo), desc="curate", unit="row") as bar:
                asyncio.run(self.workers.run(todo, partial(self._ask, bar)))

    def check_unanswered(self, rows: Sequence[int]) -> None:
        """Raises UserError that says how to go on if rows are still open."""
        unanswered = [row for row in rows if not self.ledger.is_done(row, self.tries)]
        if unanswered:
            row = next(row for row in unanswered if row in self.workers.failures)
            given_up = f" It was given up after {MOST_FAILURES} such rows in succession." if self.workers.given_up else ""
            raise UserError(
                f"endpoint: {self.options.base_url} left {len(unanswered)} of {len(rows)} rows without an answer; "
                f"{self.data.source(row)}: {self.workers.failures[row]}{given_up} "
                f"All other answers are on disk: the same command asks for the missing ones alone."
            )

    async def _ask(self, bar: Any, index: int, endpoint: Endpoint) -> None:
        row = await _in(self._reader, self.data.prompt_row, index)
        messages = await _in(self._reader, chat_messages, row)
        while not self.ledger.is_done(index, self.tries):
            answer = await endpoint.ask(messages, derive_seed(self.seed, "curate", index, self.ledger.spent[index]))
            self.workers.answered()
            self.num_answers += 1
            verdict = await _in(self._verifier, verify, answer, row, self.reward)
            self.ledger.add(index, answer, verdict)
            bar.set_postfix(self._figures(), refresh=False)
        bar.update()

    def _figures(self) -> dict[str, int | str]:
        ledger = self.ledger
        figures: dict[str, int | str] = {kind: ledger.verdicts[kind] for kind in (VERIFIED, WRONG, MALFORMED)}
        figures["tokens"] = ledger.prompt_tokens + ledger.completion_tokens
        cost = self.options.cost(ledger.prompt_tokens, ledger.completion_tokens)
        return figures if cost is None else figures | {"cost": f"{cost:.2f}"}


async def _in(executor: ThreadPoolExecutor, call: Callable[..., _Value], *arguments: Any) -> _Value:
    return await asyncio.get_running_loop().run_in_executor(executor, call, *arguments)
