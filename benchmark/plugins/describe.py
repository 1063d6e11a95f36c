"""What a plugin file says of itself, and the method that it adds to a frozen protocol. No torch.

The author's code runs in a confined child (`benchmark.plugins.examine`), so that neither `run` nor `plan` imports it
or torch. The digest is found here, from the file, without running it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from benchmark.plugins.child import ask
from benchmark.plugins.registry import PluginSource, locate, same_code
from benchmark.plugins.registry import names as installed
from benchmark.protocols import Protocol
from benchmark.protocols.methods import Allocation, ControlSpec, MethodSpec, Return, Schedule
from benchmark.protocols.needs import OF_TRAINED, Needs
from benchmark.records.schema import ProtocolRef
from benchmark.records.submissions import SUBMISSION_SCHEMA, Submission, Value, method_name
from benchmark.utils.errors import BadInput, BadPruner
from benchmark.utils.strict_model import Frozen

SECONDS_TO_IMPORT = 120


class PluginFacts(Frozen):
    """A plugin file: its own words (`benchmark.plugins.examine`), and its digest, found without running it.

    `registered`: whether an installed pruner has its name, and then whether the code is the same.
    """

    name: str
    kind: Literal["score", "mask", "hook", "learner"]
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    needs: Needs
    paper: str
    rounds: int
    allocation: Allocation
    pruned_weights: Return = "never-return"
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


def refuse_name(path: Path) -> None:
    """Raise BadInput if a file's name can name no method of any protocol, as `run` would say of it."""
    source = locate(path.stem, {path.stem: path})
    method_name(source.name, {})
    if source.name == "dense" or _registered(source) == "other":
        taken = "the unpruned network" if source.name == "dense" else "a registered pruner"
        raise BadInput(f"plugin '{source.name}'", f"its name is that of {taken}", "Rename the plugin's file")


def _registered(source: PluginSource) -> Literal["no", "same", "other"]:
    """Whether an installed pruner has this plugin's name: with the "same" code, or "other" code."""
    if source.name not in installed():
        return "no"
    try:
        return "same" if same_code(source.name, source.source) else "other"
    except BadPruner:
        return "other"


def overrides(protocol: Protocol, stem: str) -> bool:
    """Whether a file called `stem` is the pruner, learner or hook that the user's own protocol names."""
    specs = [spec for spec in protocol.methods.values() if isinstance(spec, MethodSpec)]
    return protocol.argument != protocol.id and any(
        stem in (spec.pruner, spec.hook.name if spec.hook else None) for spec in specs
    )


def submission_to(protocol: Protocol, plugin: PluginFacts) -> Submission:
    """The method that a plugin adds to a protocol. Raises BadInput if its name is taken, or for a hook or learner."""
    if plugin.kind in ("hook", "learner"):
        raise BadInput(
            f"plugin '{plugin.name}' on {protocol.key}",
            f"is a {plugin.kind}, and a frozen protocol does not say how its training goes",
            "Name it in a protocol of your own (docs/authors.md, 'A hook or a learner') and run that",
        )
    taken = "a method of this protocol" if plugin.name in (*protocol.methods, "dense") else ""
    taken = taken or ("a registered pruner" if plugin.registered == "other" else "")
    if taken:
        raise BadInput(
            f"plugin '{plugin.name}' on {protocol.key}", f"its name is that of {taken}", "Rename the plugin's file"
        )
    levels, later = levels_for(protocol, plugin.allocation)
    schedule = Schedule(
        rounds=plugin.rounds,
        scores="trained" if plugin.needs in OF_TRAINED else "initial",
        restart=0,
        pruned_weights=plugin.pruned_weights,
    )
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
            schedule=schedule,
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
        return protocol.level_table[level].kept > 0 and (allocation != "layerwise" or one_shot is not None)

    first = tuple(sorted({level for level in wanted if reachable(level)}))
    if not first:
        raise BadInput(protocol.key, "no level can be reached in one round", "Declare allocation = 'global'")
    return first, tuple(sorted({level for level in later if reachable(level)} - set(first)))
