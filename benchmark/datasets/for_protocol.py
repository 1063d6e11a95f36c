"""The data set of a protocol, with the protocol's scaling and augmentation, checked against its network."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from pathlib import Path

from benchmark.datasets.loading import Dataset, load
from benchmark.datasets.preparing import Preparation
from benchmark.errors import BadInput
from benchmark.protocol import Protocol
from benchmark.spec.network import MlpSpec


def prepared(protocol: Protocol, root: Path) -> Dataset:
    """Load what `protocol.data` names. Raises EnvironmentProblem, or BadInput if the fields do not fit each other."""
    spec, network = protocol.data, protocol.network
    dataset = load(spec.name, root)
    shape = dataset.input_shape
    channels = shape[0] if len(shape) == 3 else 1
    if spec.mean is not None and len(spec.mean) != channels:
        raise BadInput(
            f"{protocol.key}: data.mean", f"{spec.name} has {channels} channel(s)", "Give one value for each"
        )
    wanted = (network.widths[0],) if isinstance(network, MlpSpec) else network.input
    classes = network.widths[-1] if isinstance(network, MlpSpec) else network.classes
    # A flat example can be read as an image and an image as a flat example, but not one shape of image as another.
    if prod(wanted) != prod(shape) or (len(wanted) == len(shape) and wanted != shape):
        raise BadInput(f"{protocol.key}: network", f"reads {wanted}, but {spec.name} holds {shape}", "Make them agree")
    if classes != dataset.classes:
        raise BadInput(
            f"{protocol.key}: network", f"has {classes} classes, {spec.name} {dataset.classes}", "Make them agree"
        )
    return replace(dataset, prepare=Preparation(spec.mean, spec.std, spec.augmentation))
