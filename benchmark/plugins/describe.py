"""Plugin files on frozen protocols: what they say of themselves, and the methods this makes. No torch.

Asking a plugin file something in a process of its own that is confined before its code runs. No torch.

The child is `python -m MODULE FILE VALUES`; it answers with lines of JSON on standard output, the last of which is the
answer, or an error with thing, cause and fix. Whatever the plugin prints goes to standard error. Both are files, whose
length the child's limits bound: a plugin may find either, and write to it without end or what is no answer.

What a plugin file says of itself, found in a confined process of its own (see `plugin_child`).

Author's code runs here, so that neither `run` nor `plan` imports it (or torch) themselves.
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
from typing import Any, BinaryIO, Literal

from pydantic import Field, ValidationError

from benchmark.plugins.registry import PluginSource, locate
from benchmark.plugins.registry import names as installed
from benchmark.plugins.sandbox.confinement import (
    MIB,
    SCRATCH,
    Limits,
    confine,
    die_with_parent,
    enter_namespaces,
    environment,
    import_paths,
)
from benchmark.protocols import Protocol
from benchmark.protocols.methods import Allocation, ControlSpec, MethodSpec, Needs, Schedule
from benchmark.records.schema import ProtocolRef
from benchmark.records.submissions import SUBMISSION_SCHEMA, Submission, Value, method_name
from benchmark.utils.errors import BadInput, BadPruner, LotterybenchError
from benchmark.utils.strict_model import Frozen

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


SECONDS_TO_IMPORT = 120


class PluginFacts(Frozen):
    """A plugin file: its own words (`plugin_facts`), and its digest, found without running it.

    `registered`: whether an installed pruner has its name, and then whether the code is the same.
    """

    name: str
    kind: Literal["score", "mask"]
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    needs: Needs
    paper: str
    rounds: int
    allocation: Allocation
    parameters: dict[str, Value]
    registered: Literal["no", "same", "other"]


def described(path: Path, given: Mapping[str, str]) -> PluginFacts:
    """What the plugin in `path` says of itself, with hyper-parameters `given` as text.

    Its code runs in a confined process of its own. Raises BadPruner if it cannot be used, BadInput for a
    hyper-parameter that does not fit.
    """
    source = locate(path.stem, {path.stem: path})
    answer = ask("benchmark.plugins.examine", path, given, SECONDS_TO_IMPORT)
    try:
        return PluginFacts(
            **{**answer, "name": source.name, "digest": source.digest, "registered": _registered(source)}
        )
    except (TypeError, ValidationError) as error:
        raise BadPruner(f"plugin {path}", f"says of itself what cannot be ({error})", "Correct the file") from error


def _registered(source: PluginSource) -> Literal["no", "same", "other"]:
    """Whether an installed pruner has this plugin's name: with the "same" code, or "other" code."""
    if source.name not in installed():
        return "no"
    try:
        return "same" if locate(source.name).digest == source.digest else "other"
    except BadPruner:
        return "other"


def overrides(protocol: Protocol, stem: str) -> bool:
    """Whether a file called `stem` stands in for a pruner that the user's own protocol names."""
    specs = protocol.methods.values()
    return protocol.argument != protocol.id and any(
        isinstance(spec, MethodSpec) and spec.pruner == stem for spec in specs
    )


def submission_to(protocol: Protocol, plugin: PluginFacts) -> Submission:
    """The method that a plugin adds to a protocol. Raises BadInput if its name is taken."""
    taken = "a method of this protocol" if plugin.name in (*protocol.methods, "dense") else ""
    taken = taken or ("a registered pruner" if plugin.registered == "other" else "")
    if taken:
        raise BadInput(
            f"plugin '{plugin.name}' on {protocol.key}", f"its name is that of {taken}", "Rename the plugin's file"
        )
    levels, later = levels_for(protocol, plugin.allocation)
    trained = plugin.needs == "trained weights"
    return Submission(
        schema=SUBMISSION_SCHEMA,
        name=method_name(plugin.name, plugin.parameters),
        protocol=ProtocolRef(id=protocol.id, version=protocol.version, digest=protocol.digest),
        plugin_digest=plugin.digest,
        needs=plugin.needs,
        paper=plugin.paper,
        method=MethodSpec(
            pruner=plugin.name,
            parameters=plugin.parameters,
            allocation=plugin.allocation,
            schedule=Schedule(rounds=plugin.rounds, scores="trained" if trained else "initial", restart=0),
            levels=levels,
            later=later,
        ),
    )


def levels_for(protocol: Protocol, allocation: Allocation) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(levels, later levels) at which an added method is comparable: those of the methods that prune at initialization.

    Where these are measured at every level, as on MNIST-1D, those of the controls: the levels that the paper asks
    about, so that an author waits minutes, not an hour. Raises BadInput if none can be reached.
    """
    initial = [s for s in protocol.methods.values() if isinstance(s, MethodSpec) and s.schedule.scores == "initial"]
    controls = [s for s in protocol.methods.values() if isinstance(s, ControlSpec)]
    wanted = [level for spec in initial if spec.levels != "all" for level in spec.levels]
    later = [level for spec in initial if spec.levels != "all" for level in spec.later]
    if not wanted:
        wanted = [level for control in controls for level in control.levels]
    if not wanted:
        wanted = [level.index for level in protocol.level_table[1:]]

    def reachable(level: int) -> bool:
        one_shot = protocol.level_table[level].one_shot_counts
        return protocol.level_table[level].kept > 0 and (allocation == "global" or one_shot is not None)

    first = tuple(sorted({level for level in wanted if reachable(level)}))
    if not first:
        raise BadInput(protocol.key, "no level can be reached in one round", "Declare allocation = 'global'")
    return first, tuple(sorted({level for level in later if reachable(level)} - set(first)))
