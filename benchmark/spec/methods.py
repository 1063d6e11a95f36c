"""Methods: a pruner with its schedule, or a control of one."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from benchmark.spec.frozen import ADDED, Frozen

Allocation = Literal["layerwise", "global"]
Needs = Literal["nothing", "inputs", "labels", "trained weights"]


class Schedule(Frozen):
    """How scores become a mask and what the final network starts from.

    `rounds`: "levels" prunes level after level (one network per level is trained and recorded); a number
    reaches one density in that many rounds, along `curve`: the density falls by equal factors or by equal amounts.
    `scores` says whether initial or trained weights are scored. `restart`: a step to rewind to (0 = initialization),
    or "trained" to fine-tune the trained weights. `weights: kept` rewinds the learning rate to `restart` and nothing
    else (Renda et al. 2020, arXiv 2003.02389). "levels" fine-tunes, or keeps, the weights that the level before ended
    with. `scored: once-for-all-levels`: the masks of all levels of a seed are cut from one set of scores, so they are
    nested.
    """

    rounds: Literal["levels"] | int
    scores: Literal["initial", "trained"]
    restart: Literal["trained"] | int
    retrain_steps: int | None = Field(default=None, gt=0, description="fine-tuning updates; absent = the recipe's")
    curve: Annotated[Literal["exponential", "linear"], ADDED] = "exponential"
    scored: Annotated[Literal["for-each-level", "once-for-all-levels"], ADDED] = "for-each-level"
    weights: Annotated[Literal["rewound", "kept"], ADDED] = "rewound"

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


class MethodSpec(Frozen):
    """A pruner with its schedule."""

    pruner: str
    parameters: dict[str, bool | int | float | str] = Field(default_factory=dict)
    allocation: Allocation
    keep: Annotated[Literal["highest", "lowest"], ADDED] = Field(
        default="highest", description="which scores stay; lowest turns the pruner's ranking around"
    )
    schedule: Schedule
    levels: Literal["all"] | Annotated[tuple[int, ...], Field(min_length=1)]
    later: tuple[int, ...] = Field(default=(), description="levels measured once all else is done")


class ControlSpec(Frozen):
    """A method that takes another's mask: `reinitialise` redraws the weights, `shuffle` permutes within layers."""

    of: str
    control: Literal["reinitialise", "shuffle"]
    draws: int = Field(gt=0, description="independent repetitions per ticket; later ones are run last")
    levels: tuple[int, ...] = Field(min_length=1)
