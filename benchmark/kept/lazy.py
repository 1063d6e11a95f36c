"""Tensors that are made when they are first asked for: a plugin that reads what is kept never asks for the whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from torch import Tensor


class Lazy(Mapping[str, Tensor]):
    """Tensors by name, each made when it is first asked for. `made`: those that were."""

    def __init__(self, names: Sequence[str], make: Callable[[str], Tensor]) -> None:
        self._names, self.make = dict.fromkeys(names), make
        self.made: dict[str, Tensor] = {}

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.made:
            self._names[name]  # KeyError for an unknown name
            self.made[name] = self.make(name)
        return self.made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Masked(Lazy):
    """`state` times `masks`."""

    def __init__(self, names: Sequence[str], state: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
        super().__init__(names, lambda name: state[name] * masks[name])
        self.state = state


class Copied(Lazy):
    """Copies of `given`."""

    def __init__(self, given: Mapping[str, Tensor]) -> None:
        super().__init__(tuple(given), lambda name: given[name].clone())
        self.given = given
