"""Which plugins there are, where their code is, and its digest, without running any of it. No torch.

Pruners, hooks, analyses and compressors of anybody's are entry points of the groups `GROUPS`; those of this repository
are registered the same way. A digest covers what the code does, not its comments or layout.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from benchmark.protocols.needs import needs_in_source
from benchmark.utils.errors import BadInput, BadPruner, did_you_mean


def plugin_files(plugins: Sequence[Path]) -> dict[str, Path]:
    """Files by stem. Raises BadInput for a missing file or two of one name."""
    files: dict[str, Path] = {}
    for path in plugins:
        if not path.is_file():
            raise BadInput(f"plugin {path}", "there is no such file", "Give the path of a Python file")
        if path.stem in files:
            raise BadInput(f"plugin {path}", f"{files[path.stem]} has the same name", "Rename one of them")
        files[path.stem] = path
    return files


GROUP = "lotterybench.pruners"
GROUPS = {
    "pruner": GROUP,
    "hook": "lotterybench.hooks",
    "analysis": "lotterybench.analyses",
    "compressor": "lotterybench.compressors",
}
LONGEST_SOURCE = 64 * 1024  # bytes of a plugin file; the longest method here has 12 kB
DISTRIBUTION = "lotterybench"
OWN_PLUGINS = Path(__file__).resolve().parents[2] / "baselines"


def source_digest(source: str | bytes, file: str = "<unknown>") -> str:
    """sha256 of the code of a file of this repository: its syntax tree without docstrings, comments and layout.

    So words may be mended after records were made. Code can read its own docstrings, so for anybody else's file this
    is no identity: see `text_digest`. `file`: what an error of its syntax names.
    """
    tree = ast.parse(source, file)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                node.body = body[1:] or [ast.Pass()]  # type: ignore[attr-defined]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()


def module_digest(instance: object) -> str:
    """`source_digest` of the module that an object's class stands in."""
    return source_digest(inspect.getsource(sys.modules[type(instance).__module__]))


def text_digest(source: str | bytes) -> str:
    """sha256 of the whole text of a third party's file, docstrings and comments too."""
    return hashlib.sha256(source.encode() if isinstance(source, str) else source).hexdigest()


def names(kind: str = "pruner") -> list[str]:
    """Every registered plugin of a kind (a key of `GROUPS`)."""
    return sorted({point.name for point in entry_points(group=GROUPS[kind])})


def read_plugin(path: Path) -> bytes:
    """The source in a plugin's file, unread and unrun. Raises BadPruner if there is no such Python file."""
    try:
        if path.suffix == ".py" and path.is_file():  # not a pipe, which might never end
            with path.open("rb") as file:
                source = file.read(LONGEST_SOURCE + 1)
            if len(source) <= LONGEST_SOURCE:
                return source
            raise BadPruner(f"plugin {path}", f"is longer than {LONGEST_SOURCE} bytes", "Keep to one readable file")
    except OSError:
        pass
    raise BadPruner(f"plugin {path}", "is not a Python file", "Give the path of a .py file with one pruner class")


@dataclass(frozen=True)
class PluginSource:
    """A plugin's source facts, for its digest and for the plugin process that loads it.

    `file`: its file, with `source` its content; or, for an entry point `module:Class`, the file of the package that
    it is in, which may be read from (`readable`).
    """

    name: str
    digest: str
    file: Path
    source: bytes = b""
    entry_point: str | None = None
    readable: tuple[str, ...] = ()

    @property
    def of_this_repository(self) -> bool:
        """Whether it is one of `baselines/`, by the folder that it lies in, whatever its name."""
        return self.entry_point is not None and self.file.parent == OWN_PLUGINS


def locate(name: str, plugins: Mapping[str, Path] | None = None, kind: str = "pruner") -> PluginSource:
    """The plugin of a kind called `name`: from `plugins` (name -> file) first, then from entry points.

    Raises BadInput if there is none, BadPruner if its source cannot be read or is not Python.
    """
    if plugins and name in plugins:
        path = plugins[name].resolve()
        source = read_plugin(path)
        return PluginSource(path.stem, _digest(f"plugin {path}", source, path, own=False), path, source)
    return _from_entry_point(registered(name, kind), kind)


def registered(name: str, kind: str = "pruner") -> EntryPoint:
    """The entry point of a name. Where packages that are installed register it too, this repository's is meant: else
    a record named synflow would be of whatever a package calls so.

    Raises BadInput if there is none, or if two packages of others have one each.
    """
    points = {point.value: point for point in entry_points(group=GROUPS[kind]) if point.name == name}
    found = list(points.values())
    if len(found) > 1:
        found = [point for point in found if _is_ours(point, kind)] or found
    if len(found) > 1:
        cause = f"is registered by several packages: {', '.join(sorted(points))}"
        raise BadInput(f"{kind} '{name}'", cause, "Uninstall all but one of them")
    if not found:
        known = names(kind)
        fix = did_you_mean(name, known) if known else f"Register one in the entry-point group {GROUPS[kind]}"
        raise BadInput(f"{kind} '{name}'", "none is registered under this name", fix)
    return found[0]


def _is_ours(point: EntryPoint, kind: str) -> bool:
    """Whether this repository registers it, for code of its own."""
    try:
        own = _file_of(point, kind)[0].parent == OWN_PLUGINS
    except BadPruner:
        return False
    return own and point.dist is not None and point.dist.name == DISTRIBUTION


def declared_needs(name: str) -> str | None:
    """What the class of a registered pruner says it needs, read from its source and not run; None if it is not found.

    Without a `needs` of its own a pruner needs nothing, as `benchmark.api.Pruner` says.
    """
    needs = _declared(name, "pruner", "needs")
    return "nothing" if needs is _ABSENT else needs_in_source(needs) if isinstance(needs, ast.expr) else None


def moves_masks(hook: str) -> bool:
    """Whether the class of a registered hook may change masks, read from its source and not run."""
    moves = _declared(hook, "hook", "moves_masks")
    return not (isinstance(moves, ast.Constant) and moves.value is False)


def counts_left(hook: str) -> bool:
    """Whether a registered hook decides by itself how many weights are left: a `CountsLeft` by its source, not run."""
    parsed = _parsed(hook, "hook")
    if parsed is None:
        return False
    tree, wanted = parsed
    found = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == wanted)
    return any(isinstance(base, ast.Name) and base.id == "CountsLeft" for node in found for base in node.bases)


DATA_OF_RUN = ("batch", "coming", "held_out")
"""What a hook calls of its `Run` to see examples."""


def reads_data(hook: str) -> bool:
    """Whether the file of a registered hook calls anything that gives it examples, read from its source and not run;
    so said of one that is not found, too. What shares a file counts as one: classes there inherit from each other."""
    parsed = _parsed(hook, "hook")
    if parsed is None:
        return True
    return any(isinstance(node, ast.Attribute) and node.attr in DATA_OF_RUN for node in ast.walk(parsed[0]))


_ABSENT = ast.Pass()


def _declared(name: str, kind: str, attribute: str) -> ast.AST | None:
    """What the class of a registered plugin assigns to an attribute; `_ABSENT` if nothing, None without the class."""
    parsed = _parsed(name, kind)
    if parsed is None:
        return None
    tree, wanted = parsed
    for node in (n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == wanted):
        for line in node.body:
            targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
            value = getattr(line, "value", None)
            named = any(isinstance(target, ast.Name) and target.id == attribute for target in targets)
            if named and isinstance(value, ast.expr):
                return value
        return _ABSENT
    return None


def _parsed(name: str, kind: str) -> tuple[ast.Module, str] | None:
    """The syntax tree of the file of a registered plugin, and the name of its class; None if it is not found."""
    try:
        point = registered(name, kind)
        return ast.parse(_file_of(point, kind)[1].read_bytes()), point.attr
    except (BadInput, BadPruner, OSError, SyntaxError, ValueError):
        return None


def _from_entry_point(point: EntryPoint, kind: str) -> PluginSource:
    package, file, readable = _file_of(point, kind)
    digest = _digest(f"{kind} '{point.name}'", file.read_bytes(), file, own=package.parent == OWN_PLUGINS)
    return PluginSource(point.name, digest, package, b"", point.value, readable)


def _file_of(point: EntryPoint, kind: str = "pruner") -> tuple[Path, Path, tuple[str, ...]]:
    """(package or module to load, the file of the class, what may be read from), without importing anything."""
    top, *rest = point.module.split(".")
    thing = f"{kind} '{point.name}'"
    spec = find_spec(top)  # of a top-level name: looks for it and imports nothing
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise BadPruner(thing, f"{point.value} cannot be imported (no package '{top}')", "Correct its entry point")
    package = Path(spec.origin).resolve()
    inside = package.name == "__init__.py"
    module = package.parent.joinpath(*rest) if inside else package
    candidates = (module.with_suffix(".py"), module / "__init__.py")
    file = next((path for path in candidates if path.is_file()), None)
    if file is None or (rest and not inside):
        raise BadPruner(thing, f"{point.value} cannot be imported (no such module)", "Correct its entry point")
    readable = (str(package.parent if inside else package),)
    return package, file, readable


def same_code(name: str, source: bytes) -> bool:
    """Whether the registered pruner of a name has the code of `source`, words aside. Raises BadPruner."""
    file = _file_of(registered(name))[1]
    own = _digest(f"pruner '{name}'", file.read_bytes(), file, own=True)
    return own == _digest(f"plugin '{name}'", source, Path(f"{name}.py"), own=True)


def _digest(thing: str, source: bytes, file: Path, own: bool) -> str:
    try:
        code = source_digest(source, str(file))  # which also says whether it is Python
        return code if own else text_digest(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadPruner(thing, f"cannot be imported ({type(error).__name__}: {error})", "Correct the file") from error
