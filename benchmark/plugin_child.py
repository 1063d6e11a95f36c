"""Asking a plugin file something in a process of its own that is confined before its code runs. No torch.

The child is `python -m MODULE FILE VALUES`; it answers with lines of JSON on standard output, the last of which is the
answer, or an error with thing, cause and fix. Whatever the plugin prints goes to standard error. Both are files, whose
length the child's limits bound: a plugin may find either, and write to it without end or what is no answer.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from benchmark.errors import BadInput, BadPruner, LotterybenchError
from benchmark.isolation.environment import environment
from benchmark.isolation.limits import MIB, Limits
from benchmark.isolation.sandbox import SCRATCH, confine, die_with_parent, enter_namespaces, import_paths

Tell = Callable[[str], None]
LONGEST_ANSWER = 4 * MIB


def ask(module: str, path: Path, given: Mapping[str, str], seconds: float) -> dict[str, Any]:
    """The answer of `module` about the plugin in `path`, with hyper-parameters `given` as text.

    Raises BadPruner if the file cannot be used, ends the process or takes more than `seconds` of wall time; BadInput
    for a hyper-parameter that does not fit.
    """
    command = [sys.executable, "-P", "-m", module, str(path), json.dumps(dict(given))]
    own = {**environment(os.environ), "PYTHONPATH": os.pathsep.join(import_paths())}
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as words:
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=words, timeout=seconds, check=False, env=own
            )
        except subprocess.TimeoutExpired as error:
            doing = _last(said).get("doing", "import")
            fix = "Do the work in score() or learn()" if doing == "import" else "Make it faster, or see where it hangs"
            raise BadPruner(f"plugin {path}", f"its {doing} took more than {seconds:.0f} s", fix) from error
        answer = _last(said)
        match answer.get("error"):
            case [str(thing), str(cause), str(fix)]:
                raise (BadInput if thing.startswith("--set") else BadPruner)(thing, cause, fix)
        if not isinstance(answer.get("answer"), dict):
            ended = f"its {answer.get('doing', 'import')} ended the process with code {done.returncode}"
            raise BadPruner(f"plugin {path}", f"{ended} ({_last_words(words)})", "Correct the file")
    found: dict[str, Any] = answer["answer"]
    return found


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
