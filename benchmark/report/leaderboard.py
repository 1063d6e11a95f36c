"""The board's files, from records and published numbers: leaderboard.md, its picture, the pages behind. No torch.

The same records give the same bytes, so the committed files are themselves a test of the results.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from benchmark.claims import papers as published
from benchmark.claims.observations import all_gathered, gathered
from benchmark.claims.verdicts import decide_paper
from benchmark.protocols import Protocol, load_earlier
from benchmark.records.store import Store
from benchmark.report.board.claims_pages import claims_page, silent
from benchmark.report.board.front import VERDICTS, Front, page_name
from benchmark.report.board.guide import guide_page
from benchmark.report.board.markdown import GENERATED, aligned
from benchmark.report.board.protocol_pages import protocol_page
from benchmark.report.drawings import drawings
from benchmark.report.forest import forest
from benchmark.report.forest_svg import forest_svg
from benchmark.report.rankings import has_records
from benchmark.report.summary_svg import summary_svg
from benchmark.report.svg import DRAWN
from benchmark.utils.errors import BadInput, EnvironmentProblem

__all__ = ["VERDICTS", "folder_of", "problems", "render", "render_touched", "silent", "write"]

BOARD = Path("leaderboard.md")
PAGES = PurePosixPath("docs/board")
CLAIM = re.compile(r'^(?:###|-) <a id="([^"]+)"></a>', re.ASCII | re.MULTILINE)
"""Where the part of a page begins that is about one claim."""


def folder_of(board: Path) -> PurePosixPath:
    """Folder of the pages, relative to the board's: that of the committed one, and one of its own beside any other, so
    that no board overwrites another's pages."""
    return PAGES if board.name == BOARD.name else PurePosixPath(f"{board.stem}-board")


def render(
    store: Store, protocols: Sequence[Protocol], extra: Sequence[Store] = (), board: Path = BOARD
) -> dict[str, str]:
    """Every file of a board: path relative to the folder of `board` -> text, the front page first.

    Deterministic; an empty results folder gives a board of what is not measured. `extra`: further results folders that
    are read too. Raises BadInput if their plugins contradict each other.
    """
    papers = published.load_all()
    seen = all_gathered(protocols, [store, *extra])
    decided = [(paper, decide_paper(paper, seen)) for paper in papers]
    folder = folder_of(board)
    made = {board.name: Front(decided, seen, str(folder), heading=_heading(board, "", extra)).text()}
    made[f"{folder}/summary.svg"] = summary_svg(decided)
    made[f"{folder}/forest.svg"] = forest_svg(forest([d for _, decisions in decided for d in decisions]))
    earlier = {old.key: (old, len(store.records(old))) for old in load_earlier()}
    pages = {"README.md": guide_page(list(seen.values()), papers, list(earlier.values()))}
    pages |= {f"claims/{p.paper.key}.md": claims_page(p, own, seen) for p, own in decided if own or silent(p)}
    measured = [each for each in seen.values() if has_records(each)]
    pages |= {f"protocols/{page_name(each.protocol.id)}.md": protocol_page(each, papers) for each in measured}
    for each in measured:
        page = page_name(each.protocol.id)
        for drawing in drawings(store, each):
            name = f"{page}{drawing.suffix}.svg"
            made[f"{folder}/protocols/{name}"] = drawing.svg
            pages[f"protocols/{page}.md"] += f"\n![{drawing.title}]({name})\n"
    for name, text in pages.items():
        up = "../" * (len(folder.parts) + name.count("/"))
        made[f"{folder}/{name}"] = f"{_heading(board, up, extra)}\n{text}"
    return made


def _heading(board: Path, up: str, extra: Sequence[Store]) -> str:
    """How every page begins; `up`: from its folder to the board's."""
    back = f" [Back to the board]({up}{board.name})." if up else ""
    own = f"{GENERATED}[results/]({up}results/); edits are lost.{back}*\n"
    others = ", ".join(f"`{other.root}`" for other in extra)
    return f"{own}\n**With records from {others}.**\n" if others else own


def render_touched(store: Store, protocols: Sequence[Protocol], extra: Sequence[Store]) -> str:
    """The pages of those protocols alone that `extra` folders hold records of, for the terminal.

    Raises BadInput if there is none.
    """
    touched = [protocol for protocol in protocols if any(other.records(protocol) for other in extra)]
    if not touched:
        folders = ", ".join(str(other.root) for other in extra)
        raise BadInput(folders, "holds no record of a protocol of this package", "Give the --results folder of a run")
    papers = published.load_all()
    return aligned("\n".join(protocol_page(gathered(protocol, [store, *extra]), papers) for protocol in touched))


def write(store: Store, protocols: Sequence[Protocol], path: Path, extra: Sequence[Store] = ()) -> list[Path]:
    """Write the board and its pages, and delete generated pages that it no longer has; the files that it has now.

    Raises EnvironmentProblem if one cannot be written.
    """
    made = render(store, protocols, extra, path)
    files = {path.parent / name: text.encode() for name, text in made.items()}
    for page in _superfluous(path, made):
        if _generated(page):
            page.unlink()
    for file, content in files.items():
        _write(file, content)
    return list(files)


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise EnvironmentProblem(
            str(path), f"cannot be written ({error.strerror or error})", "Give another path"
        ) from error


def problems(board: Path, made: dict[str, str]) -> dict[Path, str]:
    """Files of a board that are not what `render` made: missing, edited, or superfluous, in words."""
    found = {}
    for name, text in made.items():
        file = board.parent / name
        try:
            if file.read_bytes() != text.encode():
                found[file] = "is not what records and published numbers say"
        except (FileNotFoundError, NotADirectoryError):
            found[file] = "is missing"
    return found | dict.fromkeys(_superfluous(board, made), "is not a page of the board")


def _superfluous(board: Path, made: dict[str, str]) -> list[Path]:
    """Files in the folder of the pages that the board does not have."""
    folder = board.parent / folder_of(board)
    return sorted(
        file for file in folder.rglob("*") if file.is_file() and str(file.relative_to(board.parent)) not in made
    )


def _generated(page: Path) -> bool:
    """Whether a file is a page that this module wrote, or a picture of one: anything else is left where it is."""
    begin = {".md": GENERATED.encode(), ".svg": DRAWN.encode()}.get(page.suffix)
    return begin is not None and page.read_bytes().startswith(begin)


def by_claim(text: str) -> dict[str, str]:
    """The parts of a page that are about one claim each, by the claim."""
    starts = [(found[1], found.start()) for found in CLAIM.finditer(text)]
    ends = [*(start for _, start in starts[1:]), len(text)]
    return {claim: text[start:end].strip() for (claim, start), end in zip(starts, ends, strict=False)}
