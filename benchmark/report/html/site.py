"""Writing the site: all pages are made in memory, then one folder is put in place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import resources
from pathlib import Path

from benchmark.claims import papers as published
from benchmark.claims.observations import all_gathered
from benchmark.protocols import Protocol
from benchmark.records.store import Store
from benchmark.report.html.guides import guides_in
from benchmark.report.html.pages import pages
from benchmark.utils.errors import BadInput, EnvironmentProblem

SCRIPTS = ("style.css", "report.js", "compare.js")
MARK = "lotterybench-report"  # the file that says the folder is ours to replace


def build(store: Store, protocols: Sequence[Protocol], folder: Path, docs: Path | None = None) -> int:
    """Write the report of a results folder into `folder`, replacing an earlier one; returns the number of pages.

    `docs`: a folder of Markdown files, which become pages too.

    The same records give the same bytes. Raises BadInput if `folder` holds something else, EnvironmentProblem if it
    cannot be written.
    """
    if folder.exists() and not (folder / MARK).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(str(folder), "is not an earlier report, and would be replaced", "Give another --to folder")
    papers = published.load_all()
    seen = all_gathered(protocols, [store])
    made = pages(store, seen, papers, guides_in(docs) if docs else ())
    files = {name: text.encode() for name, text in made.items()} | _assets()
    try:
        _replace(folder, files)
    except OSError as error:
        raise EnvironmentProblem(
            str(folder), f"cannot be written ({error.strerror or error})", "Give another --to folder"
        ) from error
    return len(made)


def _assets() -> dict[str, bytes]:
    """Style, script, and the plotting library as one local file: the site needs no network."""
    from plotly.offline import get_plotlyjs

    static = resources.files("benchmark") / "report" / "html" / "static"
    files = {f"assets/{name}": (static / name).read_bytes() for name in SCRIPTS}
    return files | {"assets/plotly.min.js": get_plotlyjs().encode(), MARK: b"made by lotterybench report\n"}


def _replace(folder: Path, files: Mapping[str, bytes]) -> None:
    """Put the files where `folder` is; a reader sees the old site or the new one."""
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}.new")
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    try:
        for name, content in files.items():
            path = fresh / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    finally:
        for left in (fresh, old):
            with suppress(OSError):
                shutil.rmtree(left)
