"""How requests fail, in the words of this suite, and trying again what may pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from benchmark.errors import EnvironmentProblem

LONGEST_REASON = 200  # characters
MOST_FAILURES = 4
AGAIN = "Run the same command again; it goes on where it stopped"
Answer = TypeVar("Answer")
pause = time.sleep


class Outrun(Exception):
    """Another writer committed first."""


class Unreachable(EnvironmentProblem):
    """A request failed in a way that may pass: no connection, no answer in time, a server's error."""


class Patience:
    """Tries again what was unreachable, a few times with growing pauses; progress makes it fresh again."""

    def __init__(self) -> None:
        self.failures = 0

    def after(self, failure: Unreachable) -> None:
        """Pause before the next attempt: 1 s, 2 s, 4 s, 8 s. Raises the failure when there were enough."""
        self.failures += 1
        if self.failures > MOST_FAILURES:
            raise failure
        pause(2.0 ** (self.failures - 1))

    def __call__(self, request: Callable[[], Answer]) -> Answer:
        """What `request` gives, in the end. Raises Unreachable."""
        while True:
            try:
                return request()
            except Unreachable as failure:
                self.after(failure)


def explained(error: Exception, thing: str) -> EnvironmentProblem:
    """What the client raised while doing `thing`; Unreachable if it may pass."""
    from huggingface_hub import errors

    if isinstance(error, errors.OfflineModeIsEnabled) or isinstance(error.__cause__, errors.OfflineModeIsEnabled):
        cause = "it is not in the cache, and HF_HUB_OFFLINE is set"
        return EnvironmentProblem(thing, cause, "Unset HF_HUB_OFFLINE once to download it")
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    if status in (401, 403):
        fix = "Log in with `hf auth login`, or set HF_TOKEN to a token with the right to do this"
        return EnvironmentProblem(thing, f"you may not, or it is not there (HTTP {status})", fix)
    if status is not None and status < 500 and status not in (408, 429):
        return EnvironmentProblem(thing, f"the Hub answered HTTP {status}", "Check the name and HF_ENDPOINT")
    if status is not None:
        return Unreachable(thing, f"the Hub answered HTTP {status}", AGAIN)
    reason = error.__cause__ or error
    return Unreachable(thing, f"{type(reason).__name__}: {short(reason)}", AGAIN)


def short(error: BaseException) -> str:
    """An error's own words, in one line of bounded length."""
    return " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__
