"""What a protocol says of pruning: its methods (a pruner with its schedule, or a control of one), what is prunable, and
the conventions of scoring and cutting on which the repositories of this field differ.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from benchmark.protocols.recipe import Recipe
from benchmark.protocols.transfer import MasksFrom
from benchmark.utils.errors import did_you_mean
from benchmark.utils.strict_model import ADDED, Frozen

if TYPE_CHECKING:
    from benchmark.protocols.protocol import Protocol

Allocation = Literal["layerwise", "global", "by-pruner"]
Return = Literal["never-return", "may-return"]


class Schedule(Frozen):
    """How scores become a mask and what the final network starts from.

    `rounds`: "levels" prunes level after level (one network per level is trained and recorded); a number
    reaches one density in that many rounds, along `curve`: the density falls by equal factors or by equal amounts.
    `scores` says whether initial or trained weights are scored. `restart`: a step to rewind to (0 = initialization),
    or "trained" to fine-tune the trained weights. `weights: kept` rewinds the learning rate to `restart` and nothing
    else (Renda et al. 2020, arXiv 2003.02389). "levels" fine-tunes, or keeps, the weights that the level before ended
    with. `scored: once-for-all-levels`: the masks of all levels of a seed are cut from one set of scores, so they are
    nested. `pruned_weights: may-return`: every round cuts from all weights, those pruned in earlier rounds of the same
    mask too, by scores found without them (FORCE, arXiv 2006.09081). `layer_counts: of-levels`: one round leaves in
    each layer what level after level would. `training: none`: the masked network is evaluated as it starts. `values:
    signed-constant`: it starts from the signs of its initial weights times their standard deviation in each tensor.
    """

    rounds: Literal["levels"] | int
    scores: Literal["initial", "trained"]
    restart: Literal["trained"] | int
    retrain_steps: int | None = Field(default=None, gt=0, description="fine-tuning updates; absent = the recipe's")
    curve: Annotated[Literal["exponential", "linear"], ADDED] = "exponential"
    scored: Annotated[Literal["for-each-level", "once-for-all-levels"], ADDED] = "for-each-level"
    weights: Annotated[Literal["rewound", "kept"], ADDED] = "rewound"
    pruned_weights: Annotated[Return, ADDED] = "never-return"
    layer_counts: Annotated[Literal["of-one-round", "of-levels"], ADDED] = "of-one-round"
    training: Annotated[Literal["recipe", "none"], ADDED] = "recipe"
    values: Annotated[Literal["drawn", "signed-constant"], ADDED] = "drawn"

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if isinstance(self.rounds, int) and self.rounds < 1:
            raise ValueError(f"rounds is {self.rounds}, below 1")
        if isinstance(self.restart, int) and self.restart < 0:
            raise ValueError(f"restart is {self.restart}, below 0")
        if self.restart == "trained" and self.scores != "trained":
            raise ValueError("restart: trained needs scores: trained")
        if self.scores == "trained" and isinstance(self.rounds, int) and self.rounds != 1:
            raise ValueError("scores: trained needs rounds: levels (iterative) or rounds: 1 (one-shot)")
        if self.rounds == "levels" and self.scores != "trained":
            raise ValueError("rounds: levels needs scores: trained")
        if self.curve != "exponential" and (not isinstance(self.rounds, int) or self.rounds == 1):
            raise ValueError(f"curve: {self.curve} needs a number of rounds above 1")
        if self.scored == "once-for-all-levels" and (self.rounds != 1 or self.scores != "initial"):
            raise ValueError("scored: once-for-all-levels needs rounds: 1 and scores: initial")
        if self.weights == "kept" and (self.scores != "trained" or self.restart == "trained"):
            raise ValueError("weights: kept needs scores: trained and the step at which the learning rate starts again")
        if self.retrain_steps is not None and self.restart != "trained":
            raise ValueError("retrain_steps needs restart: trained; a rewound network trains to the recipe's last step")
        return self

    @model_validator(mode="after")
    def _possible_with_additions(self) -> Self:
        if self.pruned_weights == "may-return" and (not isinstance(self.rounds, int) or self.rounds == 1):
            raise ValueError("pruned_weights: may-return needs a number of rounds above 1")
        if self.layer_counts == "of-levels" and self.rounds != 1:
            raise ValueError("layer_counts: of-levels needs rounds: 1")
        if self.values != "drawn" and (self.restart != 0 or self.weights == "kept"):
            raise ValueError("values: signed-constant are of initial weights: restart: 0")
        if self.training == "none" and (self.rounds == "levels" or self.restart != 0):
            raise ValueError("training: none evaluates initial weights: restart: 0, and a number of rounds")
        return self


class HookSpec(Frozen):
    """What acts while the final network is trained, such as a mask that moves.

    `starts`: with the mask that the method's pruner gives ("masked"), or with every weight ("dense", as gradual
    pruning does; the pruner is then not asked).
    """

    name: str
    parameters: dict[str, bool | int | float | str] = Field(default_factory=dict)
    starts: Literal["masked", "dense"] = "masked"


class LearningSpec(Frozen):
    """How a mask is learned, where the pruner is a learner: scores are trained in the weights' place.

    `recipe`: by which they are; absent = by the protocol's, as the weights of other networks. `steps`: for how many
    updates; absent = the recipe's own.
    """

    recipe: Recipe | None = None
    steps: int | None = Field(default=None, gt=0)

    def of(self, protocol: Protocol) -> Recipe:
        """The recipe that scores are trained by."""
        recipe = self.recipe or protocol.recipe
        return recipe.model_copy(update={"steps": self.steps or recipe.steps})


class MethodSpec(Frozen):
    """A pruner with its schedule, and a hook on the training of what it leaves, if any.

    With `learning`, the pruner is a learner: its mask follows from a training of its own, before the network's; with
    `training: none` that is all, and the network is the initial weights under the learned mask. With `masks_from`,
    masks and starting weights are another protocol's, and `pruner` and `allocation` say what made the masks there.
    """

    pruner: str
    parameters: dict[str, bool | int | float | str] = Field(default_factory=dict)
    allocation: Allocation
    keep: Annotated[Literal["highest", "lowest"], ADDED] = Field(
        default="highest", description="which scores stay; lowest turns the pruner's ranking around"
    )
    schedule: Schedule
    hook: Annotated[HookSpec | None, ADDED] = None
    learning: Annotated[LearningSpec | None, ADDED] = None
    masks_from: Annotated[MasksFrom | None, ADDED] = None
    examples: Annotated[int | None, ADDED] = Field(
        default=None, gt=0, description="so many are scored, drawn at random, in place of those of pruning.scoring"
    )
    levels: Literal["all"] | Annotated[tuple[int, ...], Field(min_length=1)]
    later: tuple[int, ...] = Field(default=(), description="levels measured once all else is done")

    draws: ClassVar[int] = 1

    @property
    def is_chain(self) -> bool:
        """Whether level r is made from the trained network of level r - 1."""
        return self.schedule.rounds == "levels"

    @property
    def shares_work(self) -> bool:
        """Whether the levels of a seed belong in one job: a chain, or masks cut from one set of scores."""
        return self.is_chain or self.schedule.scored == "once-for-all-levels"

    def measured_levels(self, last: int) -> tuple[int, ...]:
        """Levels at which the method is measured, most wanted first; `last` is the protocol's."""
        return (tuple(range(1, last + 1)) if self.levels == "all" else self.levels) + self.later

    def inverted(self, rounds: Literal["every-round", "one-shot"]) -> MethodSpec:
        """The method with its ranking turned around: in every round, or that of the whole network, cut at once."""
        schedule = self.schedule
        if rounds == "one-shot":
            once = {"rounds": 1, "curve": "exponential", "pruned_weights": "never-return"}
            schedule = schedule.model_copy(update=once)
        keep = "lowest" if self.keep == "highest" else "highest"
        return self.model_copy(update={"keep": keep, "schedule": schedule})

    def unfit_for(self, *, trains: bool) -> str | None:
        """Why a protocol that trains final networks, or none, cannot have this method; None if it can."""
        if not trains and (self.schedule.scores, self.schedule.restart) != ("initial", 0):
            return "measures: masks trains nothing: scores: initial and restart: 0"
        if not trains and self.masks_from:
            return "measures: masks trains nothing, and masks_from is for networks to be trained"
        if not trains and self.learning:
            return "measures: masks trains nothing, and a learner's scores are trained"
        if not trains and self.schedule.training == "none":
            return "measures: masks trains nothing: leave training out"
        if trains and self.schedule.scored != "for-each-level":
            return "scored: once-for-all-levels needs measures: masks"
        return None

    def check(self, name: str, protocol: Protocol) -> None:
        """The method can be trained and cut as its schedule says. Raises ValueError."""
        restart, steps = self.schedule.restart, protocol.recipe.steps
        if self.hook and (self.is_chain or self.schedule.scores != "initial" or restart != 0):
            raise ValueError(f"methods.{name}: a hook needs a mask at initialization: scores: initial and restart: 0")
        if self.hook and not protocol.trains:
            raise ValueError(f"methods.{name}: a hook acts while a network is trained, and this protocol trains none")
        if self.learning:
            self._check_learning(name)
        if self.masks_from:
            self._check_transfer(name)
        if self.examples:
            self._check_examples(name, protocol)
        if protocol.trains and isinstance(restart, int) and restart >= steps:
            raise ValueError(f"methods.{name}: restart {restart} is not before the last of {steps} steps")
        if self.allocation != "layerwise" and self.schedule.layer_counts == "of-levels":
            raise ValueError(f"methods.{name}: layer_counts: of-levels needs allocation: layerwise")
        if self.allocation == "by-pruner" and self.schedule.scored == "once-for-all-levels":
            raise ValueError(f"methods.{name}: allocation: by-pruner asks for budgets level by level")
        cut_here = self.masks_from is None and self.schedule.layer_counts == "of-one-round"
        if self.allocation == "layerwise" and not self.is_chain and cut_here:
            for level in protocol.measured_levels(name):
                if protocol.level_table[level].one_shot_counts is None:
                    raise ValueError(f"methods.{name}: level {level} cannot be reached in one round with layer_rates")

    def _check_examples(self, name: str, protocol: Protocol) -> None:
        if protocol.pruning.scoring.draw != "at-random-from-training-set":
            raise ValueError(f"methods.{name}: examples are drawn at random: scoring.draw: at-random-from-training-set")
        if self.learning or self.masks_from:
            raise ValueError(f"methods.{name}: examples are those a pruner scores, and none scores here")

    def _check_transfer(self, name: str) -> None:
        if self.schedule != Schedule(rounds=1, scores="initial", restart=0) or self.learning or self.keep != "highest":
            raise ValueError(
                f"methods.{name}: masks_from gives mask and start: rounds: 1, scores: initial, restart: 0, no learning"
            )
        if self.hook and self.hook.starts != "masked":
            raise ValueError(f"methods.{name}: masks_from gives the mask that training starts with: starts: masked")

    def _check_learning(self, name: str) -> None:
        schedule = self.schedule
        plain = (schedule.rounds, schedule.scores, schedule.restart, schedule.curve) == (1, "initial", 0, "exponential")
        if not plain or self.hook or self.keep != "highest" or self.allocation == "by-pruner":
            raise ValueError(
                f"methods.{name}: a mask is learned at initialization in one round, highest scores kept, no hook: "
                "rounds: 1, scores: initial, restart: 0, allocation: layerwise or global"
            )


class ControlSpec(Frozen):
    """A method that takes another's mask, or scores: `reinitialise` redraws the weights, `reset` puts back the initial
    ones where the mask was found by training on, `shuffle` permutes within layers, `invert` keeps what the scores say
    should go, `hook` trains the mask with a hook.

    `hook`: of `control: hook`; the parent has none, or the one whose counts in the same cell this one is given.
    `inverted`: which scores are turned around, those of "every-round" or, "one-shot", those of the whole network, from
    which the mask is then cut in one round. They differ where the method has several rounds.
    """

    of: str
    control: Literal["reinitialise", "reset", "shuffle", "invert", "hook"]
    hook: Annotated[HookSpec | None, ADDED] = None
    inverted: Annotated[Literal["every-round", "one-shot"] | None, ADDED] = None
    draws: int = Field(gt=0, le=1000, description="independent repetitions per ticket; later ones are run last")
    levels: tuple[int, ...] = Field(min_length=1)

    is_chain: ClassVar[bool] = False
    shares_work: ClassVar[bool] = False

    def measured_levels(self, last: int) -> tuple[int, ...]:  # noqa: ARG002
        """Levels at which the control is measured, most wanted first."""
        return self.levels

    def unfit_for(self, *, trains: bool) -> str | None:
        """Why a protocol that trains no final network cannot have this control; None if it can."""
        return None if trains else "a control is another training; measures: masks has none"

    def check(self, name: str, protocol: Protocol) -> None:
        """The control has a parent whose masks it can take. Raises ValueError."""
        parent = protocol.methods.get(self.of)
        if not isinstance(parent, MethodSpec):
            raise ValueError(f"methods.{name}: of: '{self.of}' is not a pruning method of this protocol")
        if self.control == "hook":
            self._check_hook(name, parent)
        elif parent.hook:
            raise ValueError(f"methods.{name}: the mask of '{self.of}' is only there when its training has ended")
        elif name != f"{self.of}+{'reinit' if self.control == 'reinitialise' else self.control}":
            raise ValueError(f"methods.{name}: a control is named <method>+reinit, +reset, +shuffle or +invert")
        if missing := set(self.levels) - set(protocol.measured_levels(self.of)):
            raise ValueError(f"methods.{name}: level {min(missing)} is not measured by {self.of}")
        if self.control == "reinitialise" and (parent.schedule.restart, parent.schedule.weights) != (0, "rewound"):
            raise ValueError(f"methods.{name}: new weights start at step 0, but {self.of} restarts elsewhere")
        if self.control == "reset":
            self._check_reset(name, parent)
        if (self.control == "hook") != (self.hook is not None):
            raise ValueError(f"methods.{name}: hook goes with control: hook")
        if (self.control == "invert") != (self.inverted is not None):
            raise ValueError(f"methods.{name}: inverted goes with control: invert")
        if self.control == "invert":
            self._check_invert(name, parent)

    def _check_reset(self, name: str, parent: MethodSpec) -> None:
        if not parent.is_chain or parent.schedule.restart != "trained":
            raise ValueError(f"methods.{name}: {self.of} starts every round anew: rounds: levels, restart: trained")
        if self.draws != 1:
            raise ValueError(f"methods.{name}: a seed has one draw of initial weights: draws: 1")

    def _check_invert(self, name: str, parent: MethodSpec) -> None:
        if self.draws != 1:
            raise ValueError(f"methods.{name}: inverted scores leave nothing to draw: draws: 1")
        if parent.is_chain or parent.schedule.scored != "for-each-level":
            raise ValueError(f"methods.{name}: the masks of {self.of} follow from each other; write a method with keep")
        if parent.masks_from:
            raise ValueError(f"methods.{name}: the masks of {self.of} are another protocol's; invert them there")
        if self.inverted == "one-shot" and parent.schedule.rounds == 1:
            raise ValueError(f"methods.{name}: {self.of} has one round: inverted: every-round")

    def _check_hook(self, name: str, parent: MethodSpec) -> None:
        if not name.startswith(f"{self.of}+"):
            raise ValueError(f"methods.{name}: a control is named <method>+<what the hook does>")
        if (parent.schedule.restart, parent.schedule.weights, parent.schedule.training) != (0, "rewound", "recipe"):
            raise ValueError(f"methods.{name}: a hook acts on a whole training: {self.of} needs restart: 0")
        if self.hook and self.hook.starts != "masked":
            raise ValueError(f"methods.{name}: the training starts with the mask of {self.of}: starts: masked")
        if self.draws != 1:
            raise ValueError(f"methods.{name}: a hook draws from the seed: draws: 1")


class Scoring(Frozen):
    """Which examples a pruner at initialization sees, and how the network is run on them.

    The conventions behind the published tables: Missing the Mark scores in train mode on balanced, plain examples;
    Synaptic-Flow in eval mode on as many drawn at random, augmented; SNIP's own code on one plain training batch, and
    with weights that are drawn anew before training. GraSP's own code runs in train mode.
    """

    examples_per_class: int = Field(gt=0, description="drawn at random: in the mean, times the number of classes")
    draw: Literal["balanced-from-training-set", "at-random-from-training-set"]
    augmentation: Literal["none", "as-in-training"]
    batch: Literal["all-at-once"]
    batch_norm: Literal["train", "eval", "network-has-none"]
    biases: Literal["not-scored", "scored-with-their-layer"]
    weights: Annotated[Literal["those-trained", "another-draw"], ADDED] = "those-trained"
    bias_values: Annotated[Literal["as-drawn", "normal-by-length"], ADDED] = Field(
        default="as-drawn",
        description="normal-by-length: the biases scored, of another draw, have variance one over their number",
    )

    @model_validator(mode="after")
    def _biases_of_another_draw(self) -> Self:
        if self.bias_values != "as-drawn" and self.weights != "another-draw":
            raise ValueError("bias_values: normal-by-length needs weights: another-draw")
        return self


class PruningSpec(Frozen):
    """What is prunable and how masks are cut. A layer is the module that owns the tensors."""

    prunable: dict[str, tuple[int, ...]] = Field(min_length=1, description="tensor name -> shape, in tie order")
    layer_rates: dict[str, float] = Field(description="rate of a layer relative to the others; absent = 1")
    ties: Literal["lower-index-stays", "random-by-seed"] = Field(
        description="which of equal scores stay; random ranks are drawn for each seed and method, once for all rounds"
    )
    pruned_weights: Literal["never-return"]
    pruned_values: Literal["zero-after-every-update"]
    rewound: Literal["weights-and-biases", "weights-biases-and-batch-norm"] = Field(
        description="every parameter and, where there is batch norm, its running statistics"
    )
    optimizer_state: Literal["fresh"]
    scoring: Scoring

    @cached_property
    def layer_of(self) -> dict[str, str]:
        """Layer name of each prunable tensor, in tie order."""
        return {name: name.rpartition(".")[0] for name in self.prunable}

    @cached_property
    def tensor_sizes(self) -> dict[str, int]:
        """Number of weights in each prunable tensor."""
        sizes = {}
        for name, shape in self.prunable.items():
            sizes[name] = 1
            for extent in shape:
                sizes[name] *= extent
        return sizes

    @cached_property
    def layer_sizes(self) -> dict[str, int]:
        """Number of prunable weights in each layer."""
        sizes: dict[str, int] = {}
        for name, size in self.tensor_sizes.items():
            sizes[self.layer_of[name]] = sizes.get(self.layer_of[name], 0) + size
        return sizes

    @model_validator(mode="after")
    def _rates_name_layers(self) -> Self:
        for layer, rate in self.layer_rates.items():
            if layer not in self.layer_sizes:
                raise ValueError(f"layer_rates names '{layer}'. {did_you_mean(layer, list(self.layer_sizes))}")
            if not 0 <= rate <= 1:
                raise ValueError(f"layer_rates.{layer} is {rate}, outside [0, 1]")
        return self
