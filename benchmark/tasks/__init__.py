"""What is learned and how it is measured: loss, metrics with units and direction, early-stop quantity.

One file per task, found by its name; `load_task(name)` imports it on first use. Names, units and directions of metrics
can be read without torch. Imports `networks` and below.
"""

from benchmark.tasks.task import TASKS, MetricSpec, Task, load_task

__all__ = ["TASKS", "MetricSpec", "Task", "load_task"]
