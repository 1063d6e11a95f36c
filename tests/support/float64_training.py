"""What the portable kernels are compared with: updates by torch's own optimizers in float64, batch by batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from mlp_training import Spec, data, recipe, setup
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmark.networks import make
from benchmark.training.replicas import Replica, masked_start

if TYPE_CHECKING:
    from benchmark.training.kernels.group import Member


def in_float64(spec: Spec, one: Replica, fields: Mapping[str, Any], batches: list[Tensor]) -> dict[str, Tensor]:
    """The weights that torch's own optimizers reach in float64, one update for each batch of rows."""
    module, examples = make(spec).double(), data(spec)
    module.load_state_dict({name: tensor.double() for name, tensor in masked_start(one).items()})
    if fields["optimizer"] == "adam":
        kind: Any = torch.optim.Adam
        options = {}
    else:
        kind, options = torch.optim.SGD, {name: fields[name] for name in ("momentum", "nesterov") if name in fields}
    decay = fields["weight_decay"]
    optimizer = kind(module.parameters(), lr=fields["learning_rate"], weight_decay=decay, **options)
    for step, rows in enumerate(batches):
        optimizer.param_groups[0]["lr"] = fields["learning_rate"] * (0.5 if step >= 17 else 1.0)
        optimizer.zero_grad()
        cross_entropy(module(examples.train_inputs[rows].double()), examples.train_labels[rows]).backward()
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None
            parameter.grad *= one.masks[name]
        optimizer.step()
    return {name: tensor.detach() for name, tensor in module.state_dict().items()}


def member_of(one: Replica, spec: Spec, **fields: Any) -> Member:
    """Imported here: who first does so compiles the kernels, while other processes run other tests."""
    from benchmark.training.kernels.group import Member

    return Member(one, setup(spec, recipe(**fields)))


def batches_of(member: Member, updates: int) -> list[Tensor]:
    """The rows of every batch."""
    found, size = list[Tensor](), member.setup.recipe.batch_size
    for step in range(updates):
        member.tables.open(step)
        found.append(member.tables.order.split(size)[step % member.tables.per_epoch].clone())
    return found
