"""The whole page of a run folder written by hand."""

import shutil
from pathlib import Path

import pytest

from prism_pl.errors import UserError
from prism_pl.report import build_report
from prism_pl.report.collect import collect
from prism_pl.report.table import make_rows
from tests.prism_pl.report.fake_run import branched_run, fake_run


def test_page_is_whole_and_escapes_model_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = build_report(fake_run(tmp_path))
    html = page.read_text(encoding="utf-8")
    assert page == tmp_path / "report.html"
    assert not (tmp_path / ".report.html").exists()
    assert html.count("<script") == 1, "the page's own"
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;" in html
    assert "http://" not in html
    assert "https://" not in html
    # 2 of accuracies, 2 of gaps, 2 of discriminators, 4 of RLVR (of the sampled accuracy nothing was logged), 3 of shapes,
    # 3 of densities, 2 of seconds.
    assert html.count("data:image/svg+xml") == 18
    assert html.count("data:image/png") == 10
    assert "abc123" in html
    assert "7.1e-06 in alignment (2 probes)" in html
    assert "not measured" in html, "there is no discriminator in this run"
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["SFT", "10", "0.400", "[0.168,", "0.687]", "0.000", "0.900", "12.0", "-", "-"]
    assert lines[-1] == "RLVR is 50.0 points above aligned [+20.0, +80.0], greedy, 10 prompts."


def test_branches_are_compared_and_drawn_over_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    html = build_report(branched_run(tmp_path)).read_text(encoding="utf-8")
    table = capsys.readouterr().out.splitlines()
    titles = ["teacher", "base", "SFT", "RLVR without alignment", "aligned", "RLVR after alignment"]
    assert [line.split("  ")[0] for line in table[1:7]] == titles
    # Both answered 9 prompts: 9 right against 5, so each draw is binomial with 9 tries at p = 4/9, quantiles 1 and 7.
    verdict = "RLVR after alignment is 44.4 points above RLVR without alignment [+11.1, +77.8], greedy, 9 prompts."
    assert table[-1] == verdict
    # RLVR without alignment, right in 5, and SFT, right in the first 4 of these.
    assert table[-4].startswith("RLVR without alignment is 11.1 points above SFT [+0.0, +33.3], greedy, 9 prompts; the")
    assert f'<p class="verdict">{verdict}</p>' in html
    # Greedy 9 against 5, sampled 9 against 8; McNemar: 4 tosses of one side, 2 / 2^4.
    assert "<td>+0.444 [+0.111, +0.778]</td><td>+0.111 [+0.000, +0.333]</td><td>4</td><td>0</td><td>0.12</td>" in html
    assert "Updates: base 4, SFT 4, RLVR without alignment 4, warm-up 4, alignment 4, RLVR after alignment 4" in html
    assert "those that RLVR without alignment answered wrong and RLVR after alignment right come first" in html
    assert 'style="border-color:#d55e00" data-policy="2"><h3>RLVR without alignment' in html


def test_missing_stages_and_files_are_named(tmp_path: Path) -> None:
    fake_run(tmp_path)
    shutil.rmtree(tmp_path / "rlvr")
    (tmp_path / "align" / "heldout.jsonl").unlink()
    (tmp_path / "warmup" / "finished.json").unlink()
    html = build_report(tmp_path).read_text(encoding="utf-8")
    assert "Stage rlvr is missing" in html
    assert "Stage align: no held-out responses" in html
    assert "Stage warmup is not finished" in html
    assert "warm-up unfinished" in html
    assert [row.name for row in make_rows(collect(tmp_path), (), [])] == ["teacher", "sft"]


def test_a_folder_without_a_run_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no stage"):
        build_report(tmp_path)
