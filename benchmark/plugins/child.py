"""Asking a plugin file something in a process of its own, confined before the plugin's code runs. No torch.

`ask` is the caller's side, `respond` the child's: `python -m MODULE FILE VALUES`. The child answers with lines of JSON
on standard output, the last of which is the answer, or an error with thing, cause and fix. Whatever the plugin prints
goes to standard error. Both are files, whose length the child's limits bound: a plugin may find either, and write to
it without end or what is no answer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from benchmark.plugins.sandbox.confinement import (
    MIB,
    Limits,
    confine,
    die_with_parent,
    enter_namespaces,
    environment,
    import_paths,
)
from benchmark.plugins.sandbox.mounts import SCRATCH
from benchmark.utils.errors import BadInput, BadPruner, LotterybenchError

Tell = Callable[[str], None]
LONGEST_ANSWER = 4 * MIB
SECONDS_TO_START = 300  # importing torch takes two to ten, and minutes on a machine that swaps


def ask(module: str, path: Path, given: Mapping[str, str], seconds: float) -> dict[str, Any]:
    """The answer of `module` about the plugin in `path`, with hyper-parameters `given` as text.

    Raises BadPruner if the file cannot be used, ends the process or takes more than `seconds` of wall time
    from its import on; BadInput for a hyper-parameter that does not fit.
    """
    command = [sys.executable, "-P", "-m", module, str(path), json.dumps(dict(given))]
    own = {**environment(os.environ), "PYTHONPATH": os.pathsep.join(import_paths())}
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as words:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=words, env=own)
        try:
            _wait_for_first_word(child, said)
            child.wait(seconds)
        except subprocess.TimeoutExpired as error:
            doing = _last(said).get("doing", "import")
            fix = "Do the work in score() or learn()" if doing == "import" else "Make it faster, or see where it hangs"
            took = f"its {doing} took more than {error.timeout:.0f} s"
            raise BadPruner(f"plugin {path}", took, fix) from error
        finally:
            child.kill()
            child.wait()
        answer = _last(said)
        match answer.get("error"):
            case [str(thing), str(cause), str(fix)]:
                raise (BadInput if thing.startswith("--set") else BadPruner)(thing, cause, fix)
        if not isinstance(answer.get("answer"), dict):
            ended = f"its {answer.get('doing', 'import')} ended the process with code {child.returncode}"
            raise BadPruner(f"plugin {path}", f"{ended} ({_last_words(words)})", "Correct the file")
    found: dict[str, Any] = answer["answer"]
    return found


def _wait_for_first_word(child: subprocess.Popen[bytes], said: BinaryIO) -> None:
    """Until the child is about to run the plugin: importing torch, on a busy machine, is not the plugin's time."""
    started = time.monotonic()
    while child.poll() is None and not os.fstat(said.fileno()).st_size:
        if time.monotonic() - started > SECONDS_TO_START:
            raise subprocess.TimeoutExpired(child.args, SECONDS_TO_START)
        time.sleep(0.02)


def _last(said: BinaryIO) -> dict[str, Any]:
    """The last line that is a JSON object; an empty one if there is none in the last `LONGEST_ANSWER` bytes."""
    said.seek(-min(LONGEST_ANSWER, said.seek(0, os.SEEK_END)), os.SEEK_END)
    for line in reversed(said.read().splitlines()):
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(document, dict):
            return document
    return {}


def _last_words(words: BinaryIO) -> str:
    words.seek(-min(2000, words.seek(0, os.SEEK_END)), os.SEEK_END)
    lines = words.read().decode(errors="replace").strip().splitlines()
    return "".join(c for c in lines[-1] if c.isprintable()) if lines else "without a word"


def respond(work: Callable[[Path, dict[str, str], Tell], dict[str, Any]], limits: Limits) -> None:
    """The child's side: confine this process to the plugin's file and what every plugin may read, then answer.

    `work(file, given, tell)` may say what it is doing; that is named if it never ends.
    """
    entered = enter_namespaces()
    if entered and (child := os.fork()):  # the first process of its namespace: what it starts ends with it
        os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) & 0xFF)
    die_with_parent()
    lines = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    path = Path(sys.argv[1]).resolve()
    if confine(limits, entered, [str(path)]).scratch:
        os.chdir(SCRATCH)

    def say(**document: Any) -> None:
        print(json.dumps(document), file=lines, flush=True)

    try:
        say(answer=work(path, json.loads(sys.argv[2]), lambda doing: say(doing=doing)))
    except LotterybenchError as error:
        say(error=[error.thing, error.cause, error.fix])
