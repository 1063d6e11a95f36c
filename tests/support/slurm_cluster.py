"""A real Slurm on this machine: munged, slurmctld and two slurmd of one core each, on loopback ports of their own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol")
NODES = ("node1", "node2")
CONF = """
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A job that is put back into the queue waits for as long as a credential lives, 5 s at least.
AuthInfo=socket={root}/munge.sock,cred_expire=5
SlurmctldPort={ports[0]}
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool-%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd-%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/builtin
SchedulerParameters=batch_sched_delay=0,sched_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=2
SlurmdTimeout=5
SlurmctldTimeout=10
MinJobAge=600
ReturnToService=2
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=1 RealMemory=2000 State=UNKNOWN
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=1 RealMemory=2000 State=UNKNOWN
PartitionName=low Nodes=node1,node2 Default=YES MaxTime=60 State=UP PriorityTier=1 PreemptMode=REQUEUE
PartitionName=high Nodes=node1,node2 MaxTime=60 State=UP PriorityTier=10 PreemptMode=OFF
"""


def why_not() -> str | None:
    """Why there can be no cluster here; None if there can."""
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        return f"no {', '.join(missing)}: apt-get install -y --no-install-recommends slurm-wlm munge"
    return None if os.getuid() == 0 else "slurmd starts jobs of other users, so this needs root"


class Cluster:
    """Started by `start`, ended by `stop`; `environment` makes every Slurm command speak to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.environment = {"SLURM_CONF": str(root / "slurm.conf")}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """All daemons; returns when both nodes are idle."""
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (self.root / name).mkdir()
        self.root.chmod(0o755)
        (self.root / "munge.key").write_bytes(os.urandom(1024))
        (self.root / "munge.key").chmod(0o400)
        conf = CONF.format(host=socket.gethostname(), root=self.root, ports=_free_ports(3))
        (self.root / "slurm.conf").write_text(conf)
        words = [f"--{w}={self.root}/munge.{w.split('-')[0]}" for w in ("pid-file", "log-file", "seed-file")]
        self._daemon(
            "munged", "--foreground", "--force", f"--socket={self.root}/munge.sock",
            f"--key-file={self.root}/munge.key", *words,
        )  # fmt: skip
        until((self.root / "munge.sock").exists, "munged")
        self._daemon("slurmctld", "-D")
        for node in NODES:
            self.start_node(node)

    def start_node(self, node: str) -> None:
        """Bring a node up, again if need be."""
        self._daemon("slurmd", "-D", "-N", node, name=node)
        until(lambda: self.ask("sinfo", "-h", "-n", node, "-p", "low", "-o", "%T") == "idle", f"{node} is up")

    def kill_node(self, node: str) -> None:
        """As if its power failed: slurmd, and everything that it had started, dies at once."""
        os.kill(self._daemons.pop(node).pid, signal.SIGKILL)
        for pid in self.processes_of(node):
            os.kill(pid, signal.SIGKILL)

    def processes_of(self, node: str) -> list[int]:
        """Everything that runs on a node of this cluster: steps, tasks and workers."""
        mine, found = f"SLURM_CONF={self.environment['SLURM_CONF']}", []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                words = (entry / "environ").read_bytes().decode(errors="replace").split("\0")
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            step = command.startswith("slurmstepd") and (mine in words or str(self.root) in command)
            if mine in words and (f"SLURMD_NODENAME={node}" in words or (step and self._is_of(node, entry))):
                found.append(int(entry.name))
        return found

    @staticmethod
    def _is_of(node: str, entry: Path) -> bool:
        """Whether a step's process has a child on `node`."""
        for child in (entry / "task" / entry.name / "children").read_text().split():
            try:
                if f"SLURMD_NODENAME={node}\0".encode() in Path(f"/proc/{child}/environ").read_bytes():
                    return True
            except OSError:
                continue
        return False

    def ask(self, *command: str) -> str:
        """What a Slurm command prints; empty if it fails."""
        own = {**os.environ, **self.environment}
        done = subprocess.run(command, capture_output=True, text=True, env=own, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    def states(self, job: str) -> dict[str, str]:
        """Task -> state."""
        lines = self.ask("squeue", "-h", "--array", "--states=all", "-o", "%i %T", "-j", job).splitlines()
        return dict(line.split() for line in lines)

    def drain(self, *jobs: str, seconds: float = 240) -> None:
        """Return when all tasks are completed."""
        done = lambda: all(set(self.states(job).values()) == {"COMPLETED"} for job in jobs)  # noqa: E731
        until(done, f"jobs {jobs} completed: {[self.states(job) for job in jobs]}", seconds)

    def stop(self) -> None:
        """End all jobs and daemons."""
        self.ask("scancel", "--user=root")
        self.ask("scancel", "--signal=KILL", "--user=root")
        for node in NODES:
            for pid in self.processes_of(node):
                os.kill(pid, signal.SIGKILL)
        for daemon in reversed(list(self._daemons.values())):
            daemon.terminate()
        for daemon in self._daemons.values():
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _daemon(self, *command: str, name: str | None = None) -> None:
        log = (self.root / f"{name or command[0]}.out").open("ab")
        self._daemons[name or command[0]] = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **self.environment}
        )


def until(true: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Wait for something that must come; fails naming it, so that no test hangs."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"still waiting for: {what}"
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports
