"""Errors a user can act on: each names the thing, the cause and the fix, and carries an exit code."""

from __future__ import annotations


class Unavailable(Exception):
    """Another process is making what this cell needs, or is to try it; come back later."""


class LeftToOthers(Unavailable):
    """It failed here, and another worker is to try it."""


class OutOfTime(Exception):
    """The budget does not hold another training; everything finished is on disk."""


EXIT_DEVIATION = 1  # a deviation or a regression was found
EXIT_USAGE = 2  # bad input, or nothing was measured
EXIT_ENVIRONMENT = 3  # missing data, full disk, read-only folder, missing package


LONGEST = 1000  # characters of a part of a message


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 4]} ..."


def plain(text: str, keep: str = "") -> str:
    """Text of others for a terminal: what is not printable (escapes that move the cursor or hide a line) is spelt out.

    `keep`: characters that stay as they are.
    """
    spelt = "".join(c if c.isprintable() or c in keep else ascii(c)[1:-1] for c in text)
    return spelt.encode(errors="backslashreplace").decode()


class LotterybenchError(Exception):
    """Something the user can fix. `thing` is what failed, `cause` why, `fix` what to do."""

    exit_code = EXIT_USAGE

    def __init__(self, thing: str, cause: str, fix: str) -> None:
        # One line of readable length that moves no cursor, whatever a library said about whatever a file held.
        lines = f"{_short(thing)}: {_short(cause)}. {_short(fix)}".splitlines()
        super().__init__(plain(" ".join(lines)))
        self.thing, self.cause, self.fix = thing, cause, fix


class BadInput(LotterybenchError):
    """A YAML file, a plugin, a record or an argument that cannot be used as it is."""


class BadPruner(LotterybenchError):
    """A pruner broke its contract: wrong names or shapes, NaN, changed weights, wrong count."""


class NeedFailed(LotterybenchError):
    """A network that this one starts from, or whose weights are scored for it, has failed."""


class Conflict(LotterybenchError):
    """Two sides hold different things where they must agree, or one side offers what no run could have made."""

    exit_code = EXIT_DEVIATION


class EnvironmentProblem(LotterybenchError):
    """The machine, not the input: no data, no disk space, no permission."""

    exit_code = EXIT_ENVIRONMENT


NAMED = 5  # known names that an error lists


def did_you_mean(wrong: str, known: list[str]) -> str:
    """A fix sentence that offers the nearest known name, capitals or not, then all of them, or the nearest and how many
    there are."""
    from difflib import get_close_matches

    folded = {name.casefold(): name for name in sorted(known)}
    likest = get_close_matches(wrong.casefold(), folded, n=1, cutoff=0.5)
    hint = f"Did you mean '{folded[likest[0]]}'? " if likest else ""
    near = [folded[name] for name in get_close_matches(wrong.casefold(), folded, n=NAMED, cutoff=0.0)]
    return f"{hint}Known: {some_of(sorted(known), near)}"


def some_of(names: list[str], first: list[str] | None = None) -> str:
    """Names, joined; of more than a few the first so many, or these, and the number of the others."""
    if len(names) <= NAMED:
        return ", ".join(names)
    shown = (first or names)[:NAMED]
    return f"{', '.join(shown)} and {len(names) - len(shown)} more"
