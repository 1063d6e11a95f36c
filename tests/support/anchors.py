"""What links of a Markdown page may name on another one."""

from __future__ import annotations

import re
from pathlib import Path

LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(page: str) -> set[str]:
    """Explicit anchors, and headings as GitHub makes them: lower case, no marks, hyphens for spaces."""
    headings = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in re.findall(r"(?m)^#+ (.+)$", page))
    return {*re.findall(r'<a id="([^"]+)">', page), *(heading.replace(" ", "-") for heading in headings)}


def broken(page: Path, text: str) -> list[str]:
    """Links of a page, whose text this is, that lead nowhere."""
    found = []
    for path, anchor in LINK.findall(text):
        target = page.parent / path if path else page
        if not target.exists():
            found.append(path)
        elif anchor and anchor not in anchors(target.read_text()):
            found.append(f"{path}#{anchor}")
    return found
