"""Documentation as pages of the site: headings with GitHub's anchors, links that lead somewhere, no markup."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmark import protocols
from benchmark.records.store import Store
from benchmark.report.html.guides import guides_in
from benchmark.report.html.site import build

TEXT = """\
# How `it` works, in short

See [rules](other.md#rules-2), [code](../baselines), [a paper](https://arxiv.org/abs/1803.03635),
[below](#rules-2--more).

## Rules 2 + more

| a | b |
|---|---|
| 1 | <script>alert(1)</script> |
"""


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "first.md").write_text(TEXT)
    (folder / "other.md").write_text("# Other\n")
    return folder


def test_links_anchors_tables_and_titles(docs: Path) -> None:
    first, other = guides_in(docs)
    assert (first.name, first.title, other.title) == ("first", "How it works, in short", "Other")
    assert '<a href="other.html#rules-2">rules</a>, code, <a href="https://arxiv.org/abs/1803.03635">' in first.html
    assert '<h2 id="rules-2--more">' in first.html
    assert 'href="#rules-2--more"' in first.html
    assert "<td>1</td>" in first.html
    assert "<script" not in first.html
    assert guides_in(docs / "none") == []


def test_the_site_has_them_and_the_first_page_names_them(docs: Path, tmp_path: Path) -> None:
    protocol = protocols.load("mnist1d/mlp")
    without = build(Store(tmp_path / "results"), [protocol], tmp_path / "site")
    assert build(Store(tmp_path / "results"), [protocol], tmp_path / "site", docs) == without + 2
    index = (tmp_path / "site" / "index.html").read_text()
    assert '<a href="docs/first.html">How it works, in short</a>' in index
    assert "&lt;script&gt;" in (tmp_path / "site" / "docs" / "first.html").read_text()


def test_the_repositorys_own_docs_keep_every_link_to_each_other() -> None:
    own = guides_in(Path(__file__).parents[2] / "docs")
    names = {guide.name for guide in own}
    assert {"statistics", "security", "scaling"} <= names
    for guide in own:
        for piece in guide.html.split('href="')[1:]:
            href = piece.partition('"')[0]
            if not href.startswith(("https://", "http://")):
                page, _, anchor = href.partition("#")
                target = next(g for g in own if g.name == (page.removesuffix(".html") or guide.name))
                assert not anchor or f'id="{anchor}"' in target.html, (guide.name, href)
