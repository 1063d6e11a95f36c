"""A table of things by name, filled by a decorator and imported only when one is asked for.

    NETWORKS: Registry[type[Builder]] = Registry("network", "benchmark.networks", {"vgg-11": "vgg", "vgg-16": "vgg"})

    @NETWORKS.register("vgg-11", "vgg-16")  # in benchmark/networks/vgg.py
    class Vgg(Builder): ...

    NETWORKS.get("vgg-16")  # imports benchmark.networks.vgg, and nothing else of the package

Networks, data sets, rules, tasks and analyses use it. A module of one thing needs no entry in the table: it is named
after it, with underscores for hyphens. `names()` therefore imports nothing, and verbs that only list or check a name
stay free of torch. Plugins of others have no place here: they are entry points (`benchmark.plugins.registry`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Generic, TypeVar

from benchmark.utils.errors import BadInput, did_you_mean

T = TypeVar("T")
Registered = TypeVar("Registered")


class Registry(Generic[T]):
    """Things of one kind by name, in the modules of one package.

    `kind`: what an error calls one of them ("network"). `package`: where their modules are. `modules`: name -> module
    of that package; None for a package whose every public module, bar those in `besides`, is one thing of its name.
    """

    def __init__(
        self, kind: str, package: str, modules: Mapping[str, str] | None = None, *, besides: tuple[str, ...] = ()
    ) -> None:
        self.kind, self.package = kind, package
        self._given, self._besides = modules, besides
        self._registered: dict[str, T] = {}

    def register(self, *names: str) -> Callable[[Registered], Registered]:
        """Decorator of a class or function: it is what `get` gives for these names.

        Raises ValueError for a name that is taken, which is a mistake of the code.
        """

        def add(value: Registered) -> Registered:
            for name in names:
                if name in self._registered:
                    raise ValueError(f"{self.kind} '{name}' is registered twice: {self._registered[name]} and {value}")
                self._registered[name] = value  # type: ignore[assignment]  # the decorator keeps the narrower type
            return value

        return add

    def names(self) -> tuple[str, ...]:
        """Every name there is, sorted. Imports nothing."""
        return tuple(sorted({*self._modules, *self._registered}))

    def __contains__(self, name: object) -> bool:
        return name in self._registered or name in self._modules

    def get(self, name: str) -> T:
        """What is registered under a name; its module is imported on the first call.

        Raises BadInput, with the nearest name, if there is none.
        """
        if name not in self._registered and name in self._modules:
            import_module(f"{self.package}.{self._modules[name]}")
            if name not in self._registered:
                raise ValueError(f"{self.package}.{self._modules[name]} registers no {self.kind} '{name}'")
        if name not in self._registered:
            fix = did_you_mean(name, list(self.names())) if self.names() else "There is none yet"
            raise BadInput(f"{self.kind} '{name}'", "none is registered under this name", fix)
        return self._registered[name]

    def all(self) -> dict[str, T]:
        """Everything by name, sorted. Imports every module of the table."""
        return {name: self.get(name) for name in self.names()}

    @cached_property
    def _modules(self) -> Mapping[str, str]:
        """Name -> module of the package: as given, or one for each of its files."""
        if self._given is not None:
            return self._given
        spec = find_spec(self.package)
        assert spec is not None, self.package
        files = [path for folder in spec.submodule_search_locations or () for path in Path(folder).glob("[!_]*.py")]
        return {path.stem.replace("_", "-"): path.stem for path in files if path.stem not in self._besides}
