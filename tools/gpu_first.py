"""The first fifteen minutes on a GPU: what is most wanted first, in 10 minutes with 3 to spare. `make gpu-first`.

    python tools/gpu_first.py OUT [--seconds 600] [--only STAGE]... [--wheels FOLDER]
    python tools/gpu_first.py --fetch FOLDER [--python 3.12] [--few]
                                                   where there is a network: the wheels for a machine without one

Every stage is a process of its own with a time box, so a broken CUDA context ends one stage and not the others. Boxes
are in proportion to --seconds. What is found is appended to OUT/results.jsonl line by line; what a stage prints is in
OUT/<stage>.txt. Records go to OUT/results. Nothing here asserts: read the lines, commit the records, mend what broke.

Needs Python 3.11 or newer and torch 2.11 or newer with CUDA, both of which the machine has to bring. The rest is
carried as wheels for x86-64 Linux, which --wheels puts on the path of the stages without installing anything: `NEEDED`,
80 MB, or with --few `FEW`, 3 MB, what an image with PyTorch and the usual scientific packages lacks. The suite itself
need not be installed: what it says of its plugins is read from pyproject.toml. Run it from the root of a checkout.
MNIST is looked for where LOTTERYBENCH_DATA says, else in shared/data of the checkout or beside it. It was tried on the
counting runtime of tests/gpu_shim only, where every number is rubbish and tests of numbers fail:

    LD_PRELOAD=$PWD/.venv/gpu_shim/libcuda.so.1 PYTHONPATH=$PWD/tests/gpu_shim/site CUDA_VISIBLE_DEVICES=0 \\
      .venv/bin/python tools/gpu_first.py /tmp/first --seconds 1800
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SPARE = 15.0  # seconds that a stage has to have at least
SECONDS = 600.0  # that the boxes of all stages are made for
FEW = ("annotated-types", "mnist1d", "pydantic", "pydantic-core", "typing-extensions", "typing-inspection")
NEEDED = (  # of constraints.txt
    "annotated-types", "certifi", "charset-normalizer", "click", "contourpy", "cycler", "filelock", "fonttools",
    "idna", "iniconfig", "kiwisolver", "markdown-it-py", "matplotlib", "mdurl", "mnist1d", "numpy", "packaging",
    "pillow", "pluggy", "pydantic", "pydantic-core", "Pygments", "pyparsing", "pytest", "python-dateutil", "PyYAML",
    "requests", "rich", "safetensors", "scipy", "tabulate", "typing-extensions", "typing-inspection", "urllib3",
)  # fmt: skip
LENET, RESNET, VGG = "lth/lenet-mnist", "missingmark/resnet20-cifar10", "missingmark/vgg16-cifar10"


@dataclass(frozen=True)
class Stage:
    """`seconds`: its time box, of `SECONDS` for all. `command`: of the stage's process; None for a function of this
    file. In it OUT is the folder for results, BUDGET what the box leaves for training."""

    name: str
    seconds: float
    command: tuple[str, ...] | None = None


def _speed(name: str, replicas: str, seconds: float, label: str) -> Stage:
    verb = ("-m", "benchmark.cli", "speed", name, "--device", "cuda", "--replicas", replicas, "--part", "train")
    return Stage(f"speed-{label}", seconds, (*verb, "--seconds", "1", "--turns", "3", "--to", "OUT/speed.jsonl"))


def _run(what: str, seconds: float, label: str) -> Stage:
    verb = ("-m", "benchmark.cli", "run", what, "--device", "cuda", "--results", "OUT/results")
    return Stage(f"run-{label}", seconds, (*verb, "--budget", "BUDGETs", "--executor", "in-process"))


STAGES = (  # most wanted first
    Stage("device", 45),
    Stage("tests", 100, ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/training/test_cuda.py")),
    Stage("replay", 90),
    _speed(LENET, "64", 75, "lenet"),
    _speed(RESNET, "8", 75, "resnet20"),
    _speed(VGG, "4", 75, "vgg16"),
    _run("mnist1d/mlp", 80, "mnist1d"),
    _run(LENET, 60, "lenet"),
)


def say(out: Path, stage: str, **facts: object) -> None:
    """Append one line of JSON to the results, and print it."""
    line = json.dumps({"stage": stage, "utc": time.strftime("%H:%M:%S", time.gmtime()), **facts})
    print(line, flush=True)
    with (out / "results.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")


# ---- stages that no verb has


def device(out: Path) -> None:
    """What the machine is, and its ceilings by precision."""
    import torch

    from benchmark.perf.device import ceiling
    from benchmark.training.device import device_name

    say(out, "device", name=device_name("cuda"), torch=torch.__version__, cuda=torch.version.cuda,
        cudnn=torch.backends.cudnn.version(), python=sys.version.split()[0], cores=os.cpu_count(),
        memory_gib=round(torch.cuda.get_device_properties(0).total_memory / 2**30, 1))  # fmt: skip
    for precision in ("fp32", "tf32", "bf16"):
        found = ceiling("cuda", precision)
        say(out, "ceiling", precision=precision, tflops=found.matmul_flops / 1e12, copy_tb=found.copy_bytes / 1e12)


def replay(out: Path) -> None:
    """Captured against eager updates of every family, strategy and precision: how far weights are apart."""
    sys.path.append(str(ROOT / "tests" / "support"))
    from captured_trials import NETWORKS, trial

    from benchmark.protocols import load_file
    from benchmark.training import loop
    from benchmark.training.step import Eager

    tiny, replayed = load_file(ROOT / "tests" / "support" / "protocols" / "tiny.yaml"), loop.Replay.of
    for name in NETWORKS:
        for strategy in ("stacked", "streams"):
            for precision in ("fp32", "bf16"):
                asked = trial(tiny, name, strategy, precision=precision).longer(60)
                try:
                    found = []
                    for of in (replayed, Eager):
                        loop.Replay.of = staticmethod(of)  # type: ignore[method-assign,assignment]
                        found.append(asked.trained("cuda"))
                    facts: dict[str, Any] = {"apart": max(map(_apart, *found)), "failed": found[0][0].failure}
                except Exception as error:
                    facts = {"error": f"{type(error).__name__}: {error}"[:400]}
                say(out, "replay", network=name, strategy=strategy, precision=precision, **facts)


def _apart(one: Any, other: Any) -> float:
    """The largest difference of two outcomes' weights, by the size of each tensor's largest."""
    pairs = [(one.weights[name].double(), value.double()) for name, value in other.weights.items()]
    return max(float((a - b).abs().max() / (b.abs().max() + 1e-3)) for a, b in pairs)


FUNCTIONS: dict[str, Callable[[Path], None]] = {"device": device, "replay": replay}


# ---- the parent, which imports nothing that may be missing


def described(out: Path) -> Path:
    """A folder for the path of stages, in which the checkout says what its plugins are, as if it were installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = out / "site" / f"lotterybench-{project['version']}.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {where}" for name, where in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: lotterybench\nVersion: {project['version']}\n")
    return info.parent


def environment(wheels: Path | None, out: Path) -> dict[str, str]:
    """Of the stages: the checkout on their path, and wheels unpacked beside each other."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")]), str(described(out))]
    if wheels is not None:
        unpacked = wheels / "unpacked"
        for wheel in sorted(wheels.glob("*.whl")) if not unpacked.exists() else ():
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(unpacked)
        paths.append(str(unpacked))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "CUDA_DEVICE_MAX_CONNECTIONS": "32"}
    for data in (ROOT / "shared" / "data", ROOT.parent / "shared" / "data"):
        if data.is_dir():
            env.setdefault("LOTTERYBENCH_DATA", str(data))
    return env


def run_stage(stage: Stage, out: Path, seconds: float, env: dict[str, str]) -> int | str:
    """Its exit code, or that it was ended."""
    own = (str(Path(__file__).resolve()), str(out), "--stage", stage.name)
    budget = f"{max(1, int(seconds - 25))}s"  # the rest is for starting and a safe end
    parts = (part.replace("OUT", str(out)).replace("BUDGETs", budget) for part in stage.command or own)
    command = [sys.executable, *parts]
    with (out / f"{stage.name}.txt").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=env, cwd=ROOT)
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.terminate()  # `run` ends at a safe point and keeps a checkpoint
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
            return "out of its time box"


def run_all(stages: tuple[Stage, ...], out: Path, seconds: float, env: dict[str, str]) -> None:
    """All stages that the time allows, in order; what is left out is said."""
    started = time.monotonic()
    for stage in stages:
        left, box = seconds - (time.monotonic() - started), stage.seconds * seconds / SECONDS
        if left < min(box, SPARE):
            say(out, stage.name, left_out=f"{left:.0f} s left")
            continue
        begun = time.monotonic()
        code = run_stage(stage, out, min(box, left), env)
        say(out, stage.name, ended=code, seconds=round(time.monotonic() - begun, 1))


def fetch(folder: Path, python: str, names: tuple[str, ...]) -> int:
    """Wheels for x86-64 Linux at the versions of constraints.txt."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", str(folder)]
    command += ["--python-version", python, "--implementation", "cp"]
    for system in ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014", "manylinux1"):
        command += ["--platform", f"{system}_x86_64"]
    return subprocess.call([*command, "--constraint", str(ROOT / "constraints.txt"), *names])


def main(arguments: list[str] | None = None) -> int:
    """Exit code 0 whatever the stages found: the results say it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", nargs="?", type=Path)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--only", action="append", choices=[stage.name for stage in STAGES])
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--fetch", type=Path)
    parser.add_argument("--python", default="3.12", help="of the machine that wheels are fetched for")
    parser.add_argument("--few", action="store_true", help="what an image with PyTorch lacks")
    parser.add_argument("--stage", choices=list(FUNCTIONS), help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    if asked.fetch is not None:
        return fetch(asked.fetch, asked.python, FEW if asked.few else NEEDED)
    if asked.out is None:
        parser.error("name the folder for the results")
    out = asked.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    if asked.stage:
        FUNCTIONS[asked.stage](out)
        return 0
    chosen = tuple(stage for stage in STAGES if not asked.only or stage.name in asked.only)
    run_all(chosen, out, asked.seconds, environment(asked.wheels and asked.wheels.absolute(), out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
