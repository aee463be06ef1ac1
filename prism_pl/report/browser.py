"""The samples on the page: every prompt with what each policy said to it, and the controls that filter them."""

import json
from html import escape

from prism_pl.report.collect import Answered
from prism_pl.report.samples import Choice, Policy, image_uri
from prism_pl.report.scores import ResponseScores
from prism_pl.report.stages import TEACHER_COLOUR
from prism_pl.types import ASPECTS

_KINDS = ("sampled", "greedy")


def samples_section(choice: Choice | None, scorer: str) -> str:
    """``scorer`` names the discriminator whose scores are shown."""
    if choice is None:
        return '<section><h2>Samples</h2><p class="absent">No prompt was answered by both stages.</p></section>'
    scored = any(policy.scores for policy in choice.policies)
    first, last = choice.policies[choice.first].title, choice.policies[choice.last].title
    sentences = [f"{len(choice.shown)} of {choice.total} held-out prompts."]
    if choice.first != choice.last:
        sentences.append(
            f"No random choice: those that {first} answered wrong and {last} right come first. Of all {choice.total} that "
            f"both answered there are {choice.mended} of these, and {choice.spoilt} the other way round, sampled."
        )
    if scored:
        sentences.append(
            f"Scores: {scorer}, well-formed sampled responses; a gap is the teacher's score minus the policy's."
        )
    articles = "".join(_article(choice, prompt) for prompt in choice.shown)
    return (
        f'<section id="samples"><h2>Samples</h2><p>{escape(" ".join(sentences))}</p>{_controls(choice, scored)}'
        f'<div class="samples">{articles}</div><button type="button" class="more" hidden>Show more</button></section>'
    )


def _controls(choice: Choice, scored: bool) -> str:
    """Hidden until the script that serves them runs."""
    filters = {"all": "all", "wrong": "wrong", "malformed": "malformed"}
    if len(choice.policies) > 1:
        filters |= {"gained": "wrong → right", "lost": "right → wrong"}
    if scored:
        filters |= {f"gap-{k}": f"largest {aspect} gap" for k, aspect in enumerate(ASPECTS)}
    radios = _radios("filter", filters)
    kinds = _radios("kind", {kind: kind for kind in _KINDS})
    return (
        '<form hidden><div class="selects">'
        f"<label>Policy {_select('policy', choice, choice.last)}</label>"
        f"<label>Compared with {_select('other', choice, choice.first)}</label></div>"
        f"<fieldset><legend>Responses</legend>{kinds}</fieldset>"
        f"<fieldset><legend>Prompts, by the policy's response</legend>{radios}</fieldset>"
        '<p role="status"></p></form>'
    )


def _radios(name: str, options: dict[str, str]) -> str:
    return "".join(
        f'<label><input type="radio" name="{name}" value="{value}"{"" if place else " checked"}> {text}</label>'
        for place, (value, text) in enumerate(options.items())
    )


def _select(name: str, choice: Choice, selected: int) -> str:
    options = "".join(
        f'<option value="{place}"{" selected" if place == selected else ""}>{escape(policy.title)}</option>'
        for place, policy in enumerate(choice.policies)
    )
    return f'<select name="{name}">{options}</select>'


def _article(choice: Choice, prompt: Answered) -> str:
    uri = image_uri(prompt.image)
    if uri:
        image = f'<img src="{uri}" alt="image of the prompt">'
    else:
        image = f'<p class="absent">image {escape(prompt.image)} cannot be read</p>' if prompt.image else ""
    said = "".join(
        _response(policy, place, record, policy.scores.get(prompt.source))
        for place, policy in enumerate(choice.policies)
        if (record := policy.answered(prompt)) is not None
    )
    facts = json.dumps([_facts(policy, prompt) for policy in choice.policies], separators=(",", ":"))
    return (
        f'<article tabindex="-1" data-policies="{escape(facts)}"><div class="prompt">{image}'
        f"<p><strong>{escape(prompt.question)}</strong><br>Answer: <strong>{escape(prompt.answer)}</strong><br>"
        f"<small>{escape(prompt.source)}</small></p></div>"
        f'<div class="said">{_teacher(choice, prompt)}{said}</div></article>'
    )


def _facts(policy: Policy, prompt: Answered) -> dict[str, object] | None:
    """What the script filters by; None if the policy was not asked."""
    record, scores = policy.answered(prompt), policy.scores.get(prompt.source)
    if record is None:
        return None
    return {
        "sampled": {"right": record.sampled_correct, "formed": record.sections is not None},
        "greedy": {"right": record.greedy_correct, "formed": record.greedy_sections is not None},
        "gaps": [round(gap, 4) for gap in scores.gaps] if scores else None,
    }


def _teacher(choice: Choice, prompt: Answered) -> str:
    if not prompt.teacher:
        return ""
    found = (policy.scores.get(prompt.source) for policy in choice.policies)
    scores = next((own.teacher for own in found if own is not None), None)
    return (
        f'<div style="border-color:{TEACHER_COLOUR}"><h3>teacher</h3><pre>{escape(prompt.teacher)}</pre>'
        f"{_scores(scores)}</div>"
    )


def _response(policy: Policy, place: int, record: Answered, scores: ResponseScores | None) -> str:
    both = (
        _text("sampled", record.sampled, record.sampled_correct, record.sections is not None),
        _text("greedy", record.greedy, record.greedy_correct, record.greedy_sections is not None),
    )
    return (
        f'<div style="border-color:{policy.colour}" data-policy="{place}"><h3>{escape(policy.title)}</h3>{"".join(both)}'
        f"{_scores(scores.own if scores else None)}</div>"
    )


def _text(kind: str, text: str, right: bool, formed: bool) -> str:
    mark = '<b class="right">✓ correct</b>' if right else '<b class="wrong">✗ wrong</b>'
    malformed = "" if formed else " <small>malformed</small>"
    return f'<div class="{kind}"><p><small>{kind}</small> {mark}{malformed}</p><pre>{escape(text)}</pre></div>'


def _scores(values: tuple[float, ...] | None) -> str:
    if values is None:
        return ""
    text = ", ".join(f"{aspect} {value:+.2f}" for aspect, value in zip(ASPECTS, values, strict=True))
    return f'<p class="scores">score: {text}</p>'
