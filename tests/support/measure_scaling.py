"""How much faster two are than one, as docs/scaling.md says it: `python tests/support/measure_scaling.py [TURNS]`.

The same networks with one and two local workers, and on one and two Slurm nodes of a core each, in turns, from start to
end of `lotterybench run`. Run it on a machine with two cores that does nothing else; the load is printed beside.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from slurm_cluster import Cluster, why_not
from tabulate import tabulate
from tiny_protocol import written

ROOT = Path(__file__).parents[2]
NETWORKS, STEPS = 24, 2000


def main(turns: int) -> None:
    """Measure everything `turns` times and print the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        changes = {
            "steps: 20\n": f"steps: {STEPS}\n",
            "every: 2\n": "every: 500\n",
            "test_every: 10\n": "test_every: 1000\n",
        }
        protocol = written(folder, NETWORKS, changes)
        local = [["--workers", str(count)] for count in (1, 2)]
        places = dict(zip(("1 local worker", "2 local workers"), local, strict=True))
        cluster = None if why_not() else Cluster(folder)
        environment = dict(os.environ)
        if cluster is not None:
            cluster.start()
            environment |= cluster.environment
            for count in (1, 2):
                profile = folder / f"{count}.yaml"
                profile.write_text(f"schema: lotterybench/slurm/1\npartition: low\ntime: 30m\ntasks: {count}\n")
                words = ["--executor", "slurm", "--wait", "--profile", str(profile)]
                places[f"{count} Slurm node{'s' * (count - 1)}"] = words
        try:
            loads, seconds = [], dict[str, list[float]]()
            for turn in range(turns):
                for place, words in places.items():
                    loads.append(os.getloadavg()[0])
                    results = folder / f"{place}-{turn}"
                    seconds.setdefault(place, []).append(taken(protocol, results, words, environment))
        finally:
            if cluster is not None:
                cluster.stop()
    quiet = f"load before each {min(loads):.1f} to {max(loads):.1f}"
    print(f"{NETWORKS} networks of {STEPS:,} updates, {turns} turns, {quiet}\n")
    print(table(seconds))


def taken(protocol: Path, results: Path, words: list[str], environment: dict[str, str]) -> float:
    """Seconds of one run from nothing; it must have measured everything."""
    command = [sys.executable, "-m", "benchmark.cli", "run", f"{protocol}:dense", "--results", str(results), *words]
    started = time.monotonic()
    subprocess.run(command, check=True, capture_output=True, env=environment, cwd=ROOT)
    ended = time.monotonic() - started
    found = len(list(results.glob("tests/*/*/*.json"))) or len(list(results.glob("*/*/*/*.json")))
    assert found == NETWORKS, f"{found} of {NETWORKS} networks"
    return ended


def table(seconds: dict[str, list[float]]) -> str:
    """Efficiency of two: half of what one takes, as a share of what two took; medians of all turns."""
    rows = []
    for place, found in seconds.items():
        one = seconds[place.replace("2 ", "1 ").removesuffix("s") if place.startswith("2") else place]
        share = f"{100 * median(one) / 2 / median(found):.0f} %" if place.startswith("2") else ""
        rows.append([place, ", ".join(f"{value:.1f}" for value in found), share])
    return tabulate(rows, ["where", "seconds", "efficiency"], tablefmt="pipe", disable_numparse=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
