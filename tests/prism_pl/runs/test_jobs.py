"""Jobs run after those they need; a failure stops its dependants alone, or everything."""

from functools import partial

from prism_pl.runs.jobs import Job, Outcome, run_jobs


def jobs_of(log: list[str], failing: str, **needs: str) -> list[Job]:
    def run(name: str) -> bool:
        log.append(name)
        return name not in failing

    return [Job(name, partial(run, name), frozenset(needed)) for name, needed in needs.items()]


def test_a_failure_stops_only_what_needs_it() -> None:
    log: list[str] = []
    # a fails; b and c are below it, d and e are not.
    jobs = jobs_of(log, "a", a="", b="a", c="b", d="", e="d")
    assert run_jobs(jobs, 1, go_on=True) == Outcome(failed=("a",), not_run=("b", "c"))
    assert log == ["a", "d", "e"]


def test_a_failure_stops_everything() -> None:
    log: list[str] = []
    jobs = jobs_of(log, "a", a="", b="a", d="", e="d")
    assert run_jobs(jobs, 1, go_on=False) == Outcome(failed=("a",), not_run=("b", "d", "e"))
    assert log == ["a"]


def test_the_first_ready_job_of_the_list_is_next() -> None:
    log: list[str] = []
    assert run_jobs(jobs_of(log, "", c="a", b="", a=""), 1, go_on=True) == Outcome((), ())
    assert log == ["b", "a", "c"]
