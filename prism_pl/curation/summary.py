"""The table at the end of ``curate``: what was asked, what it was worth, what it cost."""

from collections.abc import Sequence

from prism_pl.curation.asking import Asking
from prism_pl.curation.ledger import MALFORMED, VERIFIED, WRONG, Ledger
from prism_pl.data.files import DataFile


def summary(data: DataFile, rows: Sequence[int], ledger: Ledger, asking: Asking, seconds: float) -> str:
    """Figures of all runs in the folder; the speed is this run's."""
    kinds = {kind: ledger.verdicts[kind] for kind in (VERIFIED, MALFORMED, WRONG)}
    cost = asking.options.cost(ledger.prompt_tokens, ledger.completion_tokens)
    unanswered = sum(not ledger.is_done(row, asking.tries) for row in rows)
    lines = [
        ("rows", f"{len(data):,}", data.name),
        ("asked for", f"{len(rows):,}", "rows within low, high, hardest and limit"),
        ("answers", f"{sum(kinds.values()):,}", f"at most {asking.tries} a row"),
        ("verified", f"{kinds[VERIFIED]:,}", ""),
        ("malformed", f"{kinds[MALFORMED]:,}", ""),
        ("wrong answer", f"{kinds[WRONG]:,}", ""),
        ("unreachable", f"{unanswered:,}", "rows without an answer, left open"),
        ("tokens in", f"{ledger.prompt_tokens:,}", ""),
        ("tokens out", f"{ledger.completion_tokens:,}", ""),
    ]
    if ledger.unmetered:
        lines.append(("not counted", f"{ledger.unmetered:,}", "answers for which the endpoint told no tokens"))
    if cost is not None:
        lines.append(("cost", f"{cost:,.4f}", "as priced in the configuration"))
    if asking.workers.num_requests:
        speed = asking.num_answers / seconds
        lines.append(("responses/s", f"{speed:.2f}", f"{asking.workers.num_requests:,} requests in this run"))
    return "\n".join(f"{name:<12} {figure:>12}  {remark}".rstrip() for name, figure, remark in lines)
