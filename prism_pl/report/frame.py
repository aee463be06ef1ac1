"""What the pages share: the document around all parts, and sections of charts. Nothing is loaded from outside."""

import base64
import hashlib
from collections.abc import Sequence
from html import escape

from prism_pl.report.drawing import Chart
from prism_pl.report.script import SCRIPT
from prism_pl.report.style import STYLE


def document(title: str, parts: Sequence[str]) -> str:
    """The whole page as one text; empty parts are left out."""
    own = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    # A second lock behind the escaping: the page loads nothing, and of scripts only the one with this hash is run.
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{own}'; form-action 'none'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f'<link rel="icon" href="data:,">\n<title>PRISM: {escape(title)}</title>\n<style>{STYLE}</style>\n'
        "</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + f"\n</main>\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )


def missing_section(missing: Sequence[str]) -> str:
    """What the page could not show, if there is any."""
    if not missing:
        return ""
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in missing)
    return f'<section class="missing"><h2>What is missing</h2><ul>{items}</ul></section>'


def charts_section(title: str, charts: Sequence[Chart | None], note: str = "") -> str:
    """A row of charts; what could not be drawn is said."""
    drawn = [chart for chart in charts if chart]
    figures = "".join(
        f'<figure><figcaption>{escape(chart.title)}</figcaption><img src="{chart.uri}" alt="{escape(chart.title)}">'
        f"<p>{escape(chart.note)}</p></figure>"
        for chart in drawn
    )
    lost = len(charts) - len(drawn)
    sentence = f"{lost} of {len(charts)} charts left out: what they show is missing from the run."
    absent = f'<p class="absent">{sentence}</p>' if lost else ""
    text = f"<p>{escape(note)}</p>" if note else ""
    return f'<section><h2>{escape(title)}</h2>{text}<div class="charts">{figures}</div>{absent}</section>'
