"""The pages of `docs/` as pages of the site: Markdown as GitHub shows it, with links that lead somewhere there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

WEB = ("https://", "http://")


@dataclass(frozen=True)
class Guide:
    """One page: its file name without ending, its heading as text, and its content as HTML."""

    name: str
    title: str
    html: str


def guides_in(folder: Path) -> list[Guide]:
    """Every `*.md` of a folder, by name; none if it is not there.

    Markup inside the files is shown as text. Links to other pages of the folder, and to the web, stay links; of those
    to files of the repository the words stay.
    """
    texts = {path.stem: path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.md"))}
    return [_guide(name, text, texts) for name, text in texts.items()]


def _guide(name: str, text: str, known: Mapping[str, str]) -> Guide:
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = parser.parse(text)
    _add_anchors(tokens)
    for token in tokens:
        if token.children:
            token.children = _with_links(token.children, known)
    headings = [tokens[i + 1].content for i, token in enumerate(tokens) if token.type == "heading_open"]
    html = parser.renderer.render(tokens, parser.options, {})
    wide = html.replace("<table>", '<div class="wide"><table>').replace("</table>", "</table></div>")
    return Guide(name, _plain(headings[0]) if headings else name, wide)


def _add_anchors(tokens: Sequence[Token]) -> None:
    """Ids of headings as GitHub makes them: letters small, blanks as hyphens, other signs left out."""
    for heading, content in pairwise(tokens):
        if heading.type == "heading_open":
            heading.attrSet("id", re.sub(r"[^\w\- ]", "", content.content.lower()).replace(" ", "-"))


def _with_links(tokens: Sequence[Token], known: Mapping[str, str]) -> list[Token]:
    kept: list[Token] = []
    dropped: list[bool] = []
    for token in tokens:
        if token.type == "link_open":
            target = _target(str(token.attrGet("href") or ""), known)
            dropped.append(target is None)
            if target is None:
                continue
            token.attrSet("href", target)
        if token.type == "link_close" and dropped.pop():
            continue
        kept.append(token)
    return kept


def _target(href: str, known: Mapping[str, str]) -> str | None:
    """Where a link leads on the site; None if it leads to a file that is not there."""
    if href.startswith((*WEB, "#")):
        return href
    path, hash_, anchor = href.partition("#")
    name = path.removesuffix(".md")
    return f"{name}.html{hash_}{anchor}" if path.endswith(".md") and name in known else None


def _plain(heading: str) -> str:
    return heading.replace("`", "")
