"""The command line as a user meets it: real processes for exit codes and start-up, in-process runs elsewhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from command_line import in_process

from benchmark.cli.main import cli
from benchmark.protocols import load_file
from benchmark.records.store import Store

VERBS = tuple(name for name in cli.commands if name != "worker")  # each but the one that `run` starts


def lotterybench(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "benchmark.cli", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env={**os.environ, **environment}
    )


def invoke(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(cli, list(arguments))


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_with_examples(verb: str) -> None:
    result = invoke(verb, "--help")
    assert result.exit_code == 0
    assert f"lotterybench {verb}" in result.output


def test_reading_verbs_never_import_torch(tmp_path: Path) -> None:
    """One after another in one process, which says after each whether it has torch by now."""
    verbs = ["--help", "list", "info lth/lenet-mnist", "info lth", "plan", "status", "score", "leaderboard --check"]
    code = (
        "import sys\nfrom benchmark.cli.main import main\n"
        f"for verb in {verbs!r}:\n"
        "    sys.argv = ['lotterybench', *verb.split()]\n"
        "    try:\n        main()\n"
        "    except SystemExit:\n        print(verb, 'torch' in sys.modules, file=sys.stderr)\n"
    )
    (tmp_path / "results").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path
    )
    said = done.stderr.splitlines()
    assert [line for line in said if line.endswith((" True", " False"))] == [f"{verb} False" for verb in verbs]
    assert "no such results folder" not in done.stderr
    assert "Traceback" not in done.stderr


def test_json_forms_are_json(tmp_path: Path) -> None:
    one = "mnist1d/mlp"
    for arguments in (["list"], ["info", one], ["plan", one], ["status", one], ["info", "lth"], ["score"]):
        place = ["--results", str(tmp_path)] if arguments[0] in {"plan", "status", "score"} else []
        result = invoke(*arguments, "--json", *place)
        assert json.loads(result.stdout), arguments


def test_a_whole_run_from_nothing_and_again(tmp_path: Path, tiny_path: Path) -> None:
    """`run` with two workers records every cell; a second run finds nothing to do; `status` agrees."""
    arguments = ["run", str(tiny_path), "--results", str(tmp_path / "r"), "--workers", "2", "--budget", "5m"]
    first = lotterybench(*arguments)
    assert first.returncode == 0, first.stderr
    protocol = load_file(tiny_path)
    records = Store(tmp_path / "r").records(protocol)
    assert {record.status for record in records} == {"finished"}
    assert f"{len(records)} cells recorded, 0 left." in first.stdout
    assert invoke("status", str(tiny_path), "--results", str(tmp_path / "r"), "--json").exit_code == 0
    rows = json.loads(invoke("status", str(tiny_path), "--results", str(tmp_path / "r"), "--json").stdout)["methods"]
    assert sum(row["finished"] for row in rows) == len(records)
    assert sum(row["missing"] for row in rows) == 0
    arguments[1] += ":imp"
    again = in_process(*arguments, "--executor", "in-process", "--recheck", str(tmp_path / "again"))
    assert again.returncode == 0, again.stderr
    assert "Nothing is missing" in again.stdout
    tickets = sum(record.method.name in ("dense", "imp") for record in records)
    assert f"{tickets} cells measured again here, {tickets} identical bit for bit" in again.stdout


def test_networks_that_planned_cells_start_from_are_no_negative_rest(tmp_path: Path, tiny_path: Path) -> None:
    """One-shot pruning after training: its dense networks are recorded besides, and counted from when they come."""
    done = invoke("run", f"{tiny_path}:one-shot", "--results", str(tmp_path / "r"), "--executor", "in-process")
    records = Store(tmp_path / "r").records(load_file(tiny_path))
    assert {record.method.name for record in records} == {"dense", "one-shot"}
    assert f"{len(records)} cells recorded, 0 left." in done.stdout
    assert f"] {len(records)}/{len(records)} " in done.stdout


def test_ctrl_c_stops_every_worker_and_says_so_once(tmp_path: Path, tiny_path: Path) -> None:
    """SIGINT to `run`: exit code 130, one line, no process left behind, and the same command goes on."""
    path = tmp_path / "long.yaml"
    path.write_text(tiny_path.read_text().replace("steps: 20\n", "steps: 2000000\n"))
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # ignored in a background run
    command = [sys.executable, "-c", f"{heard}; from benchmark.cli.main import main; main()", "run", f"{path}:dense"]
    process = subprocess.Popen(
        [*command, "--results", str(tmp_path / "r"), "--workers", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    leases = tmp_path / "r" / ".work" / "leases"
    try:
        while len([path for path in leases.glob("**/*") if path.is_file()]) < 2:  # both workers train
            assert process.poll() is None
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        commands = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130
    assert errors.count("Finished cells are kept") == 1
    assert "Traceback" not in errors
    assert not [line for line in commands if str(path).encode() in line]


def test_a_budget_too_small_for_one_training_runs_none(tmp_path: Path, tiny_path: Path) -> None:
    """Nothing is started that cannot end in time, and nothing measured is exit code 2."""
    slow = tiny_path.read_text().replace("steps: 20\n", "steps: 200000000\n")
    path = tmp_path / "slow.yaml"
    path.write_text(slow)
    done = in_process("run", f"{path}:dense", "--results", str(tmp_path / "r"), "--budget", "1s")
    assert done.returncode == 2
    assert "Not one training fits the budget" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "lth/lenet-mnst"], ["lth/lenet-mnst", "Did you mean 'lth/lenet-mnist'"]),
        (["plan", "lth/lenet-mnist:snp"], ["Did you mean 'snip'"]),
        (["info", "lth/lenet-mnist2"], ["Did you mean 'lth/lenet-mnist'"]),
        (["info", "lht"], ["Did you mean 'lth'"]),
        (["plan", "--budget", "soon"], ["'soon' is no duration", "25m"]),
        (["run", "nowhere.yaml"], ["nowhere.yaml", "there is no such file"]),
        (["plan", "lth/lenet-mnist", "--seeds", "99"], ["--seeds 99: lth/lenet-mnist has seeds 10 to 19 (dense 20 to"]),
        (["run", "lth/lenet-mnist", "--levels", "999"], ["--levels 999: lth/lenet-mnist has levels 0 to "]),
        (["plan", "mnist1d/mlp", "--set", "alpha=1"], ["--set alpha=1", "no --plugin is given"]),
        (["run", "mnist1d/mlp", "--wait"], ["--wait", "--executor local waits in any case"]),
        (["info", "lth", "--yaml"], ["--yaml", "'lth' is a paper"]),
        (["info", "lth", "--table", "x"], ["no table of this paper's results is held"]),
        (["info", "lth", "--table", "x", "--json"], ["no table of this paper's results is held"]),
        (["info", "LTH"], ["Did you mean 'lth'"]),
        (["plan", "LTH/LeNet-MNIST"], ["Did you mean 'lth/lenet-mnist'"]),
        (["info", "nosuch"], ["`lotterybench list --all` shows all"]),
        (["new-pruner", "class"], ["'class'", "is a Python keyword"]),
        (["run", "lth"], ["'lth'", "For all of them write 'lth/*'"]),
        (["score", "--results", "nowhere"], ["nowhere", "there is no such results folder"]),
        (["status", "--results", "nowhere"], ["nowhere", "there is no such results folder"]),
        (["leaderboard", "--results", "nowhere", "--check"], ["nowhere", "there is no such results folder"]),
        (["score", "--results", "tests"], ["tests", "holds no records"]),
        (["runn"], ["No such command 'runn'"]),
        (["run", "--method", "imp"], ["'--method'", "PROTOCOL:METHOD", "lotterybench run mnist1d/mlp:imp"]),
        (["plan", "lth:imp"], ["For all of them write 'lth/*:imp'"]),
        (["info", "lth/lenet-mnist@7"], ["no such version", "lth/lenet-mnist@1, lth/lenet-mnist@2"]),
        (["info", "imp"], ["imp is a method of ", " more: lotterybench info "]),
        (["info", "iht"], ["iht: protocols iht/digits-mnist, ", " more: lotterybench info iht/digits-mnist"]),
        (["info", "nothing/here"], ["Known: ", " more"]),
        (["run", "--plugin", "none.py", "mnist1d/mlp"], ["none.py"]),
    ],
)
def test_bad_arguments_are_one_error_and_exit_code_2(arguments: list[str], words: list[str]) -> None:
    done = in_process(*arguments)
    assert done.returncode == 2
    for word in words:
        assert word in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("verb", ["score", "plan", "run"])
def test_a_part_of_a_results_folder_is_not_taken_for_one(tmp_path: Path, verb: str) -> None:
    """Nothing is read as if it were empty, and nothing is written between the records; the whole one is named."""
    whole = tmp_path / "results"
    (whole / "lth" / "lenet-mnist@2").mkdir(parents=True)
    for part in (whole / "lth", whole / "lth" / "lenet-mnist@2"):
        done = in_process(verb, "--results", str(part))
        assert done.returncode == 2
        assert f"Did you mean --results {whole}?" in done.stderr
    done = in_process("score", "--results", str(whole / "lht"))
    assert "there is no such results folder" in done.stderr
    assert f"Did you mean --results {whole}?" in done.stderr


def test_missing_data_is_named_and_exit_code_3(tmp_path: Path) -> None:
    """No MNIST and no network: the data set, the folder and the way out are named."""
    proxy = "http://127.0.0.1:9"  # nothing listens there
    environment = {"LOTTERYBENCH_DATA": str(tmp_path), "http_proxy": proxy, "https_proxy": proxy}
    done = in_process("run", "lth/lenet-mnist", "--results", str(tmp_path / "r"), "--budget", "1m", **environment)
    assert done.returncode == 3, done.stderr
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert all(word in line for word in ("mnist", str(tmp_path), "Connection refused", "MNIST/raw"))
    assert "LOTTERYBENCH_DATA=FOLDER lotterybench run" in line


def test_an_unwritable_results_folder_is_exit_code_3(tmp_path: Path, tiny_path: Path) -> None:
    """A file stands where the folder should be: as unwritable as a read-only one, for root too."""
    (tmp_path / "r").write_text("in the way")
    done = in_process("run", f"{tiny_path}:dense", "--results", str(tmp_path / "r" / "sub"), "--workers", "1")
    assert done.returncode == 3, done.stderr + done.stdout
    assert "Give a writable --results folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_full_disk_is_one_error_and_loses_nothing(tmp_path: Path, tiny_path: Path) -> None:
    """A file size limit stands in for a full disk: the write fails half-way, in a worker, for real."""
    shell = f"ulimit -f 0; exec {sys.executable} -m benchmark.cli worker {tiny_path}:dense --results {tmp_path / 'r'}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode != 0
    assert not list((tmp_path / "r").glob("tests/**/*.json"))
    finished = in_process("run", f"{tiny_path}:dense", "--results", str(tmp_path / "r"), "--executor", "in-process")
    assert finished.returncode == 0
    assert len(Store(tmp_path / "r").records(load_file(tiny_path))) == 2


def test_a_damaged_record_is_named(tmp_path: Path, tiny_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    protocol = load_file(tiny_path)
    path = tmp_path / protocol.key / "dense" / "level-00_seed-0.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"schema": "lotterybench/record/99"}')
    done = in_process("status", str(tiny_path), "--results", str(tmp_path))
    assert done.returncode == 0
    assert str(path) in caplog.text
    assert "lotterybench/record/99" in caplog.text


def test_a_plugin_that_breaks_its_contract_is_a_failed_record_and_the_run_goes_on(
    tmp_path: Path, tiny_path: Path
) -> None:
    plugin = tmp_path / "snip.py"
    plugin.write_text(
        "from benchmark.api import Pruner\n\n\nclass Bad(Pruner):\n"
        "    def score(self, network, examples, rng):\n"
        "        return {name: w * float('nan') for name, w in network.weights.items()}\n"
    )
    arguments = [f"{tiny_path}:snip", f"{tiny_path}:random", "--results", str(tmp_path / "r"), "--plugin", str(plugin)]
    done = in_process("run", *arguments, "--executor", "in-process")
    assert done.returncode == 0, done.stderr
    assert "2 failed; each record says why" in done.stdout
    records = Store(tmp_path / "r").records(load_file(tiny_path))
    reasons = [r.reason or "" for r in records if r.method.name == "snip"]
    assert len(reasons) == 2
    assert all("NaN" in reason for reason in reasons)
    assert all(r.status == "finished" for r in records if r.method.name == "random")
    left = {}
    for more in ([], ["--retry-failed"]):
        planned = json.loads(
            invoke("plan", f"{tiny_path}:snip", "--results", str(tmp_path / "r"), "--json", *more).stdout
        )
        left[bool(more)] = planned[0]["left"]
    assert left == {False: 0, True: 2}


def test_a_copied_protocol_does_not_replace_records(tmp_path: Path, tiny_path: Path) -> None:
    """Same id and version, another document: refused before anything is written, with the ways out."""
    root = tmp_path / "r"
    command = ["run", f"{tiny_path}:dense", "--results", str(root), "--executor", "in-process"]
    assert in_process(*command).returncode == 0
    before = {path: path.read_bytes() for path in root.glob("tests/**/*.json")}
    copy = tmp_path / "copy.yaml"
    copy.write_text(tiny_path.read_text().replace("steps: 20\n", "steps: 30\n"))
    done = in_process("run", f"{copy}:dense", "--results", str(root))
    assert done.returncode == 2
    assert "another id or a higher version" in done.stderr
    assert {path: path.read_bytes() for path in root.glob("tests/**/*.json")} == before


@pytest.mark.parametrize("name", ["../../evil", "sn/ip", "dense", "Snip", ""])
def test_a_method_name_is_no_path(tmp_path: Path, tiny_path: Path, name: str) -> None:
    path = tmp_path / "named.yaml"
    path.write_text(tiny_path.read_text().replace("  snip:\n", f'  "{name}":\n'))
    done = in_process("plan", str(path), "--results", str(tmp_path / "r"))
    assert done.returncode == 2
    assert "name methods in small letters" in done.stderr


def test_two_plugins_of_one_name_are_refused(tmp_path: Path, tiny_path: Path) -> None:
    paths = [tmp_path / folder / "mine.py" for folder in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        path.write_text("")
    done = in_process("run", str(tiny_path), "--plugin", str(paths[0]), "--plugin", str(paths[1]))
    assert done.returncode == 2
    assert "has the same name" in done.stderr


def test_a_reader_that_goes_away_is_not_success(tmp_path: Path) -> None:
    """`lotterybench ... | head` ends as a shell reports a broken pipe, without a traceback."""
    shell = f"{sys.executable} -m benchmark.cli info lth/lenet-mnist --json | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False, timeout=60, cwd=tmp_path)
    assert done.returncode in (0, 141)  # 0 where everything fitted the pipe's buffer before its reader went
    assert "Traceback" not in done.stderr


def test_an_unwritable_board_is_exit_code_3(tmp_path: Path) -> None:
    done = in_process("leaderboard", "--check", "--to", str(tmp_path), "--results", str(tmp_path))
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
