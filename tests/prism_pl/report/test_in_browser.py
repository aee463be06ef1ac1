"""The page in Chromium: nothing wider than the page, no complaint of the console, and filters that filter."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from prism_pl.report import build_comparison, build_report
from prism_pl.report.browser import samples_section
from prism_pl.report.collect import collect
from prism_pl.report.frame import document
from prism_pl.report.samples import choose as choose_prompts
from prism_pl.report.samples import policy_of
from prism_pl.report.scores import ResponseScores
from tests.browser import CHROMIUM, Page, chromium
from tests.prism_pl.report.fake_run import branched_run, fake_run, record, response

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium")

SHOWN = """[...document.querySelectorAll("article")].filter((own) => own.checkVisibility())
    .map((own) => own.querySelector(".prompt small").textContent.split(":")[1]).join(" ")"""
TEXTS = """[...document.querySelector("article:not([hidden])").querySelectorAll("pre")]
    .filter((own) => own.checkVisibility()).map((own) => own.parentElement.className || "teacher").join(" ")"""
WIDER = """[...document.querySelectorAll("body *")].filter((own) => !own.closest(".wide table")
    && own.getBoundingClientRect().right > innerWidth + 0.5).map((own) => own.outerHTML.slice(0, 90))"""


def choose(page: Page, name: str, value: str) -> str:
    """Sets a control as a click would; which prompts are shown then."""
    page.run(f"""(() => {{
        const own = document.querySelector('[name={name}][value="{value}"], select[name={name}]');
        if (own.type === "radio") own.click();
        else {{ own.value = "{value}"; own.dispatchEvent(new Event("change", {{ bubbles: true }})); }}
    }})()""")
    return page.run(SHOWN)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with chromium(tmp_path_factory.mktemp("profile")) as own:
        yield own


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SFT is right in row 1 and malformed in row 3, RLVR after alignment right in rows 1 to 3 of ten, 14 rows in all."""
    folder = tmp_path_factory.mktemp("run")
    fake_run(folder)
    for name, right in (("sft", (0, 5)), ("align", (0,)), ("rlvr", (0, 1, 2))):
        said = [response(1, 1, "7")] * 14
        if name == "sft":
            said[2] = "no" * 200  # a word that is longer than a phone is wide
        rows = [record(i, folder / "digits.png", said[i], i == 9, i in right, 10) for i in range(14)]
        (folder / name / "heldout.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return build_report(folder)


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_the_page(page: Page, report: Path, width: int, dark: bool, tmp_path: Path) -> None:
    folders = [branched_run(tmp_path / "a"), fake_run(tmp_path / "b")]
    for file in (report, build_comparison(folders)):
        page.open(file, width, dark=dark)
        assert page.run("innerWidth") == width
        assert page.run("document.documentElement.scrollWidth") == width
        assert page.run(WIDER) == []
        # Text against its ground, by the formula of WCAG 2: 4.5 is its bound.
        assert page.run(CONTRAST) >= 4.5
    assert page.problems == []


CONTRAST = """(() => {
    const light = (text) => {
        const [r, g, b] = text.match(/[0-9.]+/g).slice(0, 3).map((own) => own / 255)
            .map((own) => own <= 0.04045 ? own / 12.92 : ((own + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (own) => {
        const colour = getComputedStyle(own).backgroundColor;
        return colour === "rgba(0, 0, 0, 0)" ? ground(own.parentElement) : colour;
    };
    const texts = [...document.querySelectorAll("main *")].filter((own) => own.checkVisibility()
        && [...own.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()) && !own.closest("select"));
    return Math.min(...texts.map((own) => {
        const [a, b] = [light(getComputedStyle(own).color), light(ground(own))];
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    }));
})()"""


def test_filters_filter(page: Page, report: Path) -> None:
    page.open(report, 1280)
    # SFT against RLVR: 2 and 3 are mended, 6 is spoilt. Twelve at a time.
    assert page.run(SHOWN) == "2 3 6 4 5 7 8 9 10 11 12 13"
    assert page.run(TEXTS) == "teacher sampled sampled sampled"
    assert page.run("document.querySelector('[role=status]').textContent") == "14 of 14 prompts, 12 shown"
    assert choose(page, "filter", "gained") == "2 3"
    assert choose(page, "filter", "lost") == "6"
    assert choose(page, "filter", "wrong") == "6 4 5 7 8 9 10 11 12 13 14"
    assert page.run("document.querySelector('[role=status]').textContent") == "11 of 14 prompts"
    assert choose(page, "filter", "malformed") == ""
    # Policies by place: SFT, aligned, RLVR.
    assert choose(page, "policy", "0") == "3"
    assert choose(page, "filter", "gained") == "", "SFT against itself"
    assert choose(page, "other", "2") == "6"
    # Greedy: all are right in row 10 alone, and none is malformed.
    assert choose(page, "kind", "greedy") == ""
    assert choose(page, "filter", "malformed") == ""
    assert choose(page, "filter", "wrong") == "2 3 6 4 5 7 8 9 11 12 13 14"
    assert page.run(TEXTS) == "teacher greedy greedy greedy"
    assert page.problems == []


def test_the_largest_gaps_come_first(page: Page, report: Path, tmp_path: Path) -> None:
    run = collect(report.parent)
    # The teacher scores 2 and 1; prompts 4 to 6 have scores, in perception 5 and in reasoning 6 the lowest.
    own = {4: (1.0, 3.0), 5: (-1.0, 2.0), 6: (0.0, -9.5)}
    scores = {f"gone.jsonl:{row}": ResponseScores(values, (2.0, 1.0)) for row, values in own.items()}
    policies = [replace(policy_of(stage, None), scores=scores) for stage in run.drawn[:1]]
    section = samples_section(choose_prompts(policies, 0, 0, 14), "scorer")
    (tmp_path / "page.html").write_text(document("gaps", [section]), "utf-8")
    page.open(tmp_path / "page.html", 1280)
    assert choose(page, "filter", "gap-0") == "5 6 4"
    first = "document.querySelector('article:not([hidden]) .scores').textContent"
    assert page.run(first) == "score: perception +2.00, reasoning +1.00", "the teacher's"
    assert choose(page, "filter", "gap-1") == "6 5 4"
    assert page.run("document.querySelector('[value=gained]')") is None, "nothing to compare with"
    assert page.problems == []


def test_the_browser_is_used_by_keyboard(page: Page, report: Path) -> None:
    page.open(report, 1280)
    focused = "document.activeElement.name || document.activeElement.className || document.activeElement.localName"
    seen = []
    for _ in range(5):
        page.press("Tab", 9)
        seen.append(page.run(focused))
    assert seen == ["policy", "other", "kind", "filter", "more"]
    assert page.run("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("Enter", 13)
    assert page.run(SHOWN).split()[12:] == ["14", "1"]
    # The focus goes on to the first of the new ones, and the order of the page is that of the list.
    assert page.run("document.activeElement.querySelector('small').textContent") == "gone.jsonl:14"


def test_a_script_that_a_model_wrote_is_not_run(page: Page, tmp_path: Path) -> None:
    file = build_report(branched_run(tmp_path))
    html = file.read_text(encoding="utf-8")
    # As if the escaping had failed.
    file.write_text(html.replace("<h2>Samples</h2>", "<h2>Samples</h2><script>window.taken = true</script>"), "utf-8")
    page.open(file, 1280)
    assert page.run("window.taken") is None
    assert any("Content Security Policy" in problem for problem in page.problems)
    page.problems.clear()
    assert page.run("document.querySelector('#samples form').hidden") is False, "its own script runs"
