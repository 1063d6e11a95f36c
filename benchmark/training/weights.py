"""Weights between rounds on disk: safetensors, never a pickle."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from benchmark.utils.files import write_atomically


def save_weights(path: Path, state: dict[str, Tensor], work: Path) -> None:
    """Write a state whole or not at all."""
    write_atomically(path, save({name: tensor.contiguous() for name, tensor in state.items()}), work)


def load_weights(path: Path) -> dict[str, Tensor] | None:
    """The state at `path`; None if there is none or it is damaged, because it can always be made again."""
    try:
        return load(path.read_bytes())
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, RuntimeError, OverflowError):
        return None  # KeyError and the like: types and shapes that safetensors lets pass and torch does not know
