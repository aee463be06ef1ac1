"""Is the game real? Charts of what tells convergence from artefact, and the alarms that were spoken."""

from html import escape

from prism_pl.report.collect import Run, Stage
from prism_pl.report.curves import COLOURS, Line, line_chart
from prism_pl.report.drawing import Chart
from prism_pl.runs.files import read_lines
from prism_pl.types import ASPECTS

NOTE = (
    "A reward gap can stand still because of the discriminator's regulariser alone. So: can a fresh discriminator still "
    "learn to tell policy and teacher apart on held-out prompts (50 % is no), can one that sees the last tokens only (it "
    "must not), how far are the responses' shapes from the teacher's (total variation), does the perception expert prefer "
    "the true image to another (50 % is blind), what accuracy does another's image cost it, and does a score follow the "
    "response's length."
)


def monitor_charts(run: Run) -> list[Chart | None]:
    """Charts of alignment; the image's effect also in warm-up."""
    perception, reasoning = (COLOURS[aspect] for aspect in ASPECTS)
    fresh = [Line(f"convergence/fresh_accuracy_{aspect}", f"{aspect}", COLOURS[aspect], heldout=True) for aspect in ASPECTS]
    fresh += [
        Line("convergence/last_tokens_perception", "perception, last tokens", COLOURS["first"], heldout=True),
        Line("convergence/last_tokens_reasoning", "reasoning, last tokens", COLOURS["second"], heldout=True),
    ]
    distances = [
        Line("convergence/tv_caption_items", "caption items", perception, heldout=True),
        Line("convergence/tv_reasoning_steps", "reasoning steps", reasoning, heldout=True),
        Line("convergence/tv_length", "length", COLOURS["second"], heldout=True),
    ]
    image = [
        Line("image/swap_preference", "against another's", perception, heldout=True),
        Line("image/blank_preference", "against a blank", COLOURS["first"], heldout=True),
    ]
    lost = [
        Line("image/swap_in_batch_accuracy_drop", "against other teachers", perception, heldout=True),
        Line("image/swap_accuracy_drop", "against the policy", COLOURS["second"], heldout=True),
    ]
    length = [Line(f"score_length_correlation/{aspect}", aspect, COLOURS[aspect]) for aspect in ASPECTS]
    warmup, align = run.first("warmup"), run.first("align")
    pairs, share = "share of held-out pairs", "share of held-out prompts"
    return [
        line_chart(align, "Fresh discriminator's accuracy", pairs, fresh, reference=0.5, fraction=True),
        line_chart(align, "Distance to the teacher", "total variation", distances, reference=0.0, fraction=True),
        line_chart(warmup, "True image preferred, warm-up", share, image, reference=0.5, fraction=True),
        line_chart(align, "True image preferred, alignment", share, image, reference=0.5, fraction=True),
        line_chart(align, "Accuracy lost with another's image", "lost accuracy", lost, reference=0.0),
        line_chart(align, "Score and length in a group", "correlation", length, reference=0.0),
        *(_margin_chart(align, aspect) for aspect in ASPECTS),
    ]


def _margin_chart(align: Stage | None, aspect: str) -> Chart | None:
    colours = {"p10": COLOURS["first"], "p50": COLOURS[aspect], "p90": COLOURS["second"]}
    lines = [Line(f"margin/{aspect}_{level}", level, colour) for level, colour in colours.items()]
    return line_chart(align, f"Margins, {aspect}", "score, teacher - policy", lines, reference=0.0)


def alarms(run: Run) -> str:
    """A list of what the health callback said, empty if it said nothing."""
    items = [
        f"<li>{escape(stage.phase)}, update {int(line['step'])}: {escape(line['sentence'])}</li>"
        for stage in run.stages.values()
        for line in read_lines(run.folder / stage.name / "health.jsonl")
    ]
    return f"<section><h2>Alarms</h2><ul>{''.join(items)}</ul></section>" if items else ""
