"""Links between the pages, which `make docs` checks in the site, hold in the checkout, too."""

import re
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import PAGES, ROOT

_LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as both GitHub and the site's generator make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path) -> list[str]:
    """The links of a page that lead nowhere; addresses of the web are not looked up."""
    found = []
    for link in _LINK.findall(page.read_text()):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not link.startswith("https://") and (not target.exists() or (anchor and anchor not in anchors(target))):
            found.append(link)
    return found


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# A page, and more\n[a](a.md#a-page-and-more) [b](#more) [c](b.md) [d](https://b.md)")
    assert broken(tmp_path / "a.md") == ["#more", "b.md"]


def test_every_page_has_its_place_in_the_site() -> None:
    sections = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    named = [page for section in sections for pages in section.values() for entry in pages for page in entry.values()]
    assert sorted(named) == sorted(page.name for page in PAGES if page.parent.name == "docs")
