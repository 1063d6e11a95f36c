"""A Slurm profile: one strict YAML file that says what to ask the cluster for. No torch."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from benchmark.utils import strict_yaml
from benchmark.utils.errors import BadInput
from benchmark.utils.strict_model import Frozen

EXAMPLE = "schema: lotterybench/slurm/1\npartition: gpu\ntime: 4h\ngpus: 1\ntasks: 32\n"


class Profile(Frozen):
    """What each task of the array is given. `time` as in 90m or 4h; Slurm counts whole minutes."""

    schema_: Literal["lotterybench/slurm/1"] = Field(alias="schema")
    partition: str = Field(min_length=1)
    time: str = Field(pattern=r"^(\d+h)?(\d+m)?$", min_length=2)
    tasks: int = Field(ge=1, le=10_000, description="size of the array: tasks side by side at most")
    gpus: int = Field(default=0, ge=0, le=64, description="per task; each has a worker of its own")
    cpus: int = Field(default=1, ge=1, le=1024, description="per task; without GPUs, each has a worker of its own")
    memory: str | None = Field(default=None, pattern=r"^\d+[MG]$", description="per task")
    constraint: str | None = None
    account: str | None = None
    qos: str | None = None
    warning_seconds: int = Field(default=90, ge=5, le=3600, description="before the time limit, to requeue in")

    @model_validator(mode="after")
    def _cores_for_gpus(self) -> Self:
        if self.cpus < self.gpus:
            raise ValueError(f"cpus: {self.gpus} GPUs need as many workers, each with a core")
        if not self.minutes:
            raise ValueError("time: must be at least one minute")
        return self

    @property
    def minutes(self) -> int:
        """The time limit."""
        hours, minutes = (re.search(rf"(\d+){unit}", self.time) for unit in "hm")
        return 60 * int(hours[1] if hours else 0) + int(minutes[1] if minutes else 0)

    @property
    def workers(self) -> int:
        """Processes in each task: one for each GPU, or for each core."""
        return self.gpus or self.cpus

    def parameters(self) -> dict[str, object]:
        """For submitit's executor. `requeue`: a task that was preempted, or whose node died, goes on elsewhere."""
        asked: dict[str, object] = {
            "name": "lotterybench",
            "timeout_min": self.minutes,
            "slurm_partition": self.partition,
            "slurm_array_parallelism": self.tasks,
            "slurm_signal_delay_s": self.warning_seconds,
            "slurm_additional_parameters": {"requeue": True},
            "cpus_per_task": self.cpus,
            "slurm_constraint": self.constraint,
            "slurm_account": self.account,
            "slurm_qos": self.qos,
            "slurm_mem": self.memory,
        }
        if self.gpus:
            asked["slurm_gpus_per_node"] = self.gpus
        return {name: value for name, value in asked.items() if value is not None}


def load_profile(path: Path) -> Profile:
    """Read a profile. Raises BadInput naming the field."""
    document = strict_yaml.load_file(path)
    try:
        return Profile.model_validate_json(json.dumps(document))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BadInput(
            str(path), f"{field}: {first['msg']}".lstrip(": "), f"A profile looks like this: {EXAMPLE}"
        ) from error
