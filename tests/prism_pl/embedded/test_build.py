"""The embedded task is built once, also by two stages that start together."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prism_pl.embedded import build
from prism_pl.runs.files import only_writer


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Replaces the build; the folders that it was given."""
    given: list[Path] = []
    monkeypatch.setattr(build, "build", given.append)
    return given


def test_a_folder_that_is_there_is_not_built_again(tmp_path: Path, builds: list[Path]) -> None:
    first = build.embedded_folder(tmp_path)
    assert first.is_dir()
    assert build.embedded_folder(tmp_path) == first
    assert len(builds) == 1


def test_what_another_process_built_meanwhile_is_taken(
    tmp_path: Path, builds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def waits_for_the_other(target: Path) -> Iterator[None]:
        with only_writer(target):
            target.mkdir()
            yield

    monkeypatch.setattr(build, "only_writer", waits_for_the_other)
    assert build.embedded_folder(tmp_path).is_dir()
    assert builds == []
