"""The hard rows: a teacher is paid for what the policy cannot do yet.

kept: low <= pass rate <= high, of these the ``hardest`` lowest (ties by row), of these the first ``limit``
"""

from prism_pl.data.files import DataFile
from prism_pl.errors import UserError, shown

COLUMN = "pass_rate"


def hard_rows(data: DataFile, low: float | None, high: float | None, hardest: int | None, limit: int | None) -> list[int]:
    """Row numbers in the file's order. Raises UserError if pass rates are asked for that the file does not have."""
    low_bound, high_bound = (0.0 if low is None else low), (1.0 if high is None else high)
    if not 0 <= low_bound <= high_bound <= 1:
        raise UserError(f"low and high: 0 <= low <= high <= 1 is needed, they are {low} and {high}.")
    for name, count in (("hardest", hardest), ("limit", limit)):
        if count is not None and count < 1:
            raise UserError(f"{name}: a number of rows is needed, it is {count}.")
    rows = list(range(len(data)))
    if (low, high, hardest) != (None, None, None):
        rates = _pass_rates(data)
        rows = [row for row in rows if low_bound <= rates[row] <= high_bound]
        rows = sorted(sorted(rows, key=lambda row: rates[row])[:hardest])
    if not rows:
        raise UserError(f"{data.name}: no row has a pass rate from {low_bound} to {high_bound}. Widen `low` and `high`.")
    return rows[:limit]


def _pass_rates(data: DataFile) -> list[float]:
    if COLUMN not in data.table.column_names:
        raise UserError(
            f"path: {data.name} has no column `{COLUMN}`, which `low`, `high` and `hardest` need. "
            f"`python -m prism_pl filter` writes it, to all.parquet; or set them to null to ask for every row."
        )
    rates = data.table[COLUMN][:]
    for row, rate in enumerate(rates):
        if not isinstance(rate, int | float) or not 0 <= rate <= 1:
            raise UserError(f"{data.source(row)}: the `{COLUMN}` is {shown(rate)}, not a number from 0 to 1.")
    return rates
