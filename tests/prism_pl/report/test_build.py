"""The whole page of a run folder written by hand."""

from pathlib import Path

import pytest

from prism_pl.errors import UserError
from prism_pl.report import build_report
from prism_pl.report.collect import collect
from prism_pl.report.table import make_rows
from tests.prism_pl.report.fake_run import fake_run


def test_page_is_whole_and_escapes_model_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = build_report(fake_run(tmp_path))
    html = page.read_text(encoding="utf-8")
    assert page == tmp_path / "report.html"
    assert not (tmp_path / ".report.html").exists()
    assert "<script" not in html
    assert "&lt;script&gt;alert(&#x27;&amp;&#x27;)&lt;/script&gt;" in html
    assert "http://" not in html
    assert "https://" not in html
    assert html.count("data:image/svg+xml") == 12
    assert html.count("data:image/png") == 6
    assert "abc123" in html
    assert "7.1e-06 in alignment (2 probes)" in html
    assert "not measured" in html, "there is no discriminator in this run"
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["SFT", "10", "0.400", "[0.168,", "0.687]", "0.000", "0.900", "12.0", "-", "-"]


def test_missing_stages_and_files_are_named(tmp_path: Path) -> None:
    fake_run(tmp_path)
    (tmp_path / "rlvr").rename(tmp_path / "elsewhere")
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
