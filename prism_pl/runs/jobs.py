"""Jobs that wait for one another, run side by side: one pool of workers, each job as soon as those it needs are done."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass


@dataclass(frozen=True)
class Job:
    """Something to run once all that it needs has been done."""

    name: str
    run: Callable[[], bool]
    """Does it and says whether it succeeded; it runs in a thread of the pool."""
    needs: frozenset[str] = frozenset()
    """Names of other jobs."""


@dataclass(frozen=True)
class Outcome:
    """What became of jobs that did not succeed."""

    failed: tuple[str, ...]
    not_run: tuple[str, ...]
    """Jobs that needed one of these, or that came after a failure which ends everything."""


def run_jobs(jobs: Sequence[Job], workers: int, go_on: bool) -> Outcome:
    """Runs the jobs, at most ``workers`` at a time; of several that are ready the first in the list.

    After a failure what runs is let finish. With ``go_on`` the jobs that need none of the failed ones run all the same;
    without it nothing starts any more. No two jobs may wait for one another.
    """
    waiting, failed = list(jobs), list[str]()
    running: dict[Future[bool], Job] = {}
    with ThreadPoolExecutor(workers) as pool:
        try:
            while running or (waiting and (go_on or not failed)):
                unfinished = {job.name for job in (*waiting, *running.values())} | set(failed)
                ready = [job for job in waiting if unfinished.isdisjoint(job.needs)] if go_on or not failed else []
                for job in ready[: workers - len(running)]:
                    waiting.remove(job)
                    running[pool.submit(job.run)] = job
                if not running:
                    break
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    job = running.pop(future)
                    if not future.result():
                        failed.append(job.name)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    assert failed or not waiting
    return Outcome(tuple(failed), tuple(job.name for job in waiting))
