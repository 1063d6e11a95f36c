"""The HTML report: numbers equal the records, nothing leaves the machine, and a browser shows it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from builders import Outcome, fill

from benchmark import protocols
from benchmark.claims import papers as published
from benchmark.protocols.cells import Cell
from benchmark.records.store import Store
from benchmark.report.html.facts import slug
from benchmark.report.html.pages import script_json
from benchmark.report.html.site import build
from benchmark.utils.errors import BadInput

LTH = protocols.load("lth/lenet-mnist@1")
MNIST1D = protocols.load("mnist1d/mlp")
METHODS = ["dense", "imp", "imp+reinit", "snip"]
BROWSER = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)


def world(cell: Cell) -> Outcome | None:
    if cell.method not in METHODS or cell.draw or cell.seed > 2:
        return None
    return Outcome(98.0 - 0.05 * cell.level - 0.1 * cell.seed, 5000 + 100 * cell.level)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    store = Store(folder / "results")
    fill(store, LTH, world)
    build(store, [LTH, MNIST1D], folder / "site")
    return folder / "site"


class Page(HTMLParser):
    """Links, ids, tables by their caption, and JSON of one page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tables: list[list[list[str]]] = []
        self._cell = self._script = False
        self.json: list[Any] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [str(given[key]) for key in ("href", "src") if given.get(key)]
        self.ids += [str(given["id"])] if given.get("id") else []
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._cell = True
        self._script = tag == "script" and given.get("type") == "application/json"

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._script:
            self.json.append(json.loads(data))
            self._script = False
        elif self._cell:
            self.tables[-1][-1][-1] += data


def test_means_on_the_pages_are_those_of_the_records(site: Path) -> None:
    """From the JSON files, without any code of the report or the scoring."""
    page = Page(site / "protocols" / "lth--lenet-mnist.html")
    chart = page.json[0]
    drawn = {trace["name"]: trace for trace in chart["data"]}
    for method in ("imp", "imp+reinit", "snip"):
        by_level: dict[int, list[float]] = {}
        for path in (site.parent / "results").glob(f"lth/lenet-mnist@1/{method}/level-*.json"):
            record = json.loads(path.read_text())
            by_level.setdefault(record["cell"]["level"], []).append(
                record["measured"]["metrics"]["test_accuracy"]["early_stop"]
            )
        means = [fmean(by_level[level]) for level in sorted(by_level)]
        assert drawn[method]["y"] == pytest.approx(means)
        table = next(t for t in page.tables if [row[1] for row in t[1:]] == [f"{mean:.2f}" for mean in means])
        assert [row[4] for row in table[1:]] == ["3"] * len(means)


def test_ranks_are_explained_as_on_the_board(site: Path) -> None:
    text = (site / "protocols" / "lth--lenet-mnist.html").read_text(encoding="utf-8")
    assert "a rank is a group of methods of which no two are told apart" in text
    assert "significantly better methods" not in text


def test_intervals_are_t_intervals(site: Path) -> None:
    from scipy import stats

    page = Page(site / "protocols" / "lth--lenet-mnist.html")
    imp = next(t for t in page.json[0]["data"] if t["name"] == "imp")
    values = [97.95, 97.85, 97.75]  # level 1 of the world above
    half = stats.t.ppf(0.975, 2) * stats.sem(values)
    assert imp["error_y"]["array"][0] == pytest.approx(half, rel=1e-6)


def test_every_link_leads_somewhere_on_this_machine(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert {p.relative_to(site).parts[0] for p in pages} >= {"index.html", "claims.html", "compare.html", "claims"}
    assert len(list(site.glob("methods/*.html"))) == len(METHODS)
    assert len(list(site.glob("protocols/*.html"))) == 2
    for path in pages:
        page = Page(path)
        assert path.stat().st_size < 300_000, "a page is read at once, on a phone too"
        assert len(page.ids) == len(set(page.ids)), path
        for link in page.links:
            if link.startswith(("https://arxiv.org/", "data:")):
                continue
            target, _, anchor = link.partition("#")
            found = (path.parent / target).resolve() if target else path
            assert found.is_file(), (path, link)
            if anchor:
                assert anchor in Page(found).ids, (path, link)


def test_every_claim_has_an_anchor(site: Path) -> None:
    """Where others have linked to, and on the page of its paper, folded or not."""
    claims = {(p.paper.key, c.id) for p in published.load_all() for c in p.claims if c.protocol in (LTH.id, MNIST1D.id)}
    assert {claim for _, claim in claims} <= set(Page(site / "claims.html").ids)
    for paper in {paper for paper, _ in claims}:
        assert {c for p, c in claims if p == paper} <= set(Page(site / "claims" / f"{paper}.html").ids)


def test_the_same_records_give_the_same_bytes_and_an_older_report_is_replaced(site: Path, tmp_path: Path) -> None:
    again = tmp_path / "site"
    for _ in range(2):
        build(Store(site.parent / "results"), [LTH, MNIST1D], again)
        (again / "left-over.html").write_text("old")
    build(Store(site.parent / "results"), [LTH, MNIST1D], again)
    first = {p.relative_to(site): p.read_bytes() for p in site.rglob("*") if p.is_file()}
    assert {p.relative_to(again): p.read_bytes() for p in again.rglob("*") if p.is_file()} == first
    assert [p.name for p in tmp_path.iterdir()] == ["site"]


def test_a_folder_that_is_no_report_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(BadInput, match="not an earlier report"):
        build(Store(tmp_path / "results"), [LTH], tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_names_and_data_cannot_break_out_of_the_page() -> None:
    assert json.loads(str(script_json({"a": "</script><b>&"}))) == {"a": "</script><b>&"}
    assert "<" not in script_json("</script>")
    names = ["imp", "imp+reinit", "imp-reinit", "a@b=1", "a@b=2", "../x", "lth/lenet"]
    slugs = [slug(name) for name in names]
    assert len(set(slugs)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9._~-]+", made) and not made.startswith("/") for made in slugs)


def test_a_protocol_without_records_shows_what_was_published(tmp_path: Path) -> None:
    """Fig. 6 of SynFlow: 12 points of four methods and the dense network, and no repeated line of what is missing."""
    protocol = protocols.load("synflow/vgg11-tiny")
    build(Store(tmp_path / "results"), [protocol], tmp_path / "site")
    text = (tmp_path / "site" / "protocols" / f"{slug(protocol.id)}.html").read_text()
    assert "the points are what was published" in text
    (chart,) = re.findall(r'<script type="application/json">(.*?)</script>', text)
    points = {trace["method"]: len(trace["x"]) for trace in json.loads(chart)["data"]}
    assert points == {"dense": 1, "random": 12, "magnitude": 12, "snip": 12, "synflow": 12}
    claims = [c for c in published.load("synflow").claims if c.protocol == protocol.id]
    assert f"{len(claims)} claims not measured, and what each costs to decide" in text
    assert text.count('data-verdict="not measured"') == len(claims) == 6


def test_the_report_needs_no_torch(site: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from benchmark import protocols as protocol; "
        "from benchmark.report.html.site import build; "
        "from benchmark.records.store import Store; "
        "build(Store(Path(sys.argv[1])), [protocol.load('lth/lenet-mnist@1')], Path(sys.argv[2])); "
        "sys.exit('torch' in sys.modules)"
    )
    given = [str(site.parent / "results"), str(tmp_path / "site")]
    done = subprocess.run([sys.executable, "-c", code, *given], check=False, timeout=120)
    assert done.returncode == 0


@pytest.mark.browser
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine: the report is not looked at in a browser")
@pytest.mark.parametrize(("width", "scheme"), [pytest.param(1280, "light", marks=pytest.mark.long), (390, "dark")])
def test_pages_work_in_a_browser(site: Path, width: int, scheme: Any) -> None:
    """No console error, no request off the machine, charts drawn, filters and theme at work, nothing cut off."""
    from playwright.sync_api import sync_playwright

    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        page = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme).new_page()
        page.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else problems.append(r.url))
        kinds = {path.parent: path for path in sorted(site.glob("*/*.html"))}  # one page of each template
        for path in [*sorted(site.glob("*.html")), *kinds.values()]:
            page.goto(path.as_uri())
            page.wait_for_function("window.Plotly !== undefined")
            if page.locator(".chart").count():
                page.locator(".chart").first.scroll_into_view_if_needed()  # charts are drawn where somebody looks
                page.wait_for_selector(".chart .main-svg", state="attached")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        _claims_filter(page, site)
        _compare_page(page, site)
        _methods_filter(page, site)
        browser.close()
    assert problems == []


def _claims_filter(page: Any, site: Path) -> None:
    page.goto((site / "claims.html").as_uri())
    assert page.locator(".claim[data-verdict='not measured']:visible").count() == 0, "folded until they are asked for"
    page.check("[name=verdict][value='not measured']")
    total = page.locator(".claim:visible").count()
    page.fill("#search", "lth-14")
    assert page.locator(".claim:visible").count() == 1
    assert page.inner_text("#shown") == f"1 of {total} claims"
    page.fill("#search", "")
    for box in page.locator("[name=verdict]").all():
        if box.get_attribute("value") != "not measured":
            box.uncheck()
    verdicts = {claim.get_attribute("data-verdict") for claim in page.locator(".claim:visible").all()}
    assert verdicts == {"not measured"}
    page.select_option("#paper", "mnist1d")
    assert {c.get_attribute("data-paper") for c in page.locator(".claim:visible").all()} == {"mnist1d"}
    page.goto((site / "index.html").as_uri())
    page.goto((site / "claims.html").as_uri() + "#mnist1d-2")
    assert page.locator("#mnist1d-2").is_visible(), "a link from elsewhere leads to a claim that is folded away"


def _compare_page(page: Any, site: Path) -> None:
    """Seed by seed 0.1 apart, so every difference is exact: level 1 of imp is 97.95 - 0.1 seed, dense 98 - 0.1 seed."""
    page.goto((site / "compare.html").as_uri() + "#lth--lenet-mnist")
    page.select_option("[name=a]", "imp")
    page.select_option("[name=b]", "dense")
    page.wait_for_selector(".compared .main-svg", state="attached")
    cells = page.locator("#differences tbody tr").first.locator("td").all_inner_texts()
    assert cells[1] == "\u22120.05"
    assert cells[4:] == ["3", "0 of 3"]
    assert "imp minus dense" in page.inner_text("#compared")


def _methods_filter(page: Any, site: Path) -> None:
    page.goto((site / "protocols" / "lth--lenet-mnist.html").as_uri())
    page.wait_for_selector(".chart .main-svg", state="attached")
    count = "document.querySelector('.plot').data.filter(t => t.visible !== false).length"
    before = page.evaluate(count)
    first = page.locator(".chart").first
    assert first.locator(".methods .swatch").count() == len(METHODS) == first.locator(".methods input").count()
    bar, plot = first.locator(".modebar").bounding_box(), first.locator(".plotarea, .bglayer").first.bounding_box()
    legend = first.locator(".methods").bounding_box()
    assert legend["y"] + legend["height"] <= bar["y"], "the toolbar does not cover the legend"
    assert plot is None or bar["y"] + bar["height"] <= plot["y"] + 1, "nor the curves"
    first.get_by_label("snip", exact=True).uncheck()
    assert page.evaluate(count) == before - 1
    paper = "getComputedStyle(document.body).backgroundColor"
    old = page.evaluate(paper)
    page.click("#theme")
    assert page.evaluate(paper) != old
