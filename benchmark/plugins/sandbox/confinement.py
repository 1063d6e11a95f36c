"""Confinement of the process that runs a plugin: its limits, its environment, the files it may open. No torch.

`confine` puts on every protection that this system has, for good: namespaces (if the parent entered them), an empty
folder in memory, resource limits, no capabilities, Landlock (Linux 5.13 and newer: unprivileged, inherited,
irrevocable) and the filter of `system_calls`. `Protections` says which of them hold. docs/security.md says what each is
for and what is left without it.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import signal
import struct
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from pathlib import Path

from benchmark.plugins.sandbox.mounts import SCRATCH, enter_own_root, keep_mounts_private, mount_scratch
from benchmark.plugins.sandbox.system_calls import refuse_system_calls

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """Bounds for one mask, all its rounds together. Fixed numbers, so that no verdict depends on the machine.

    `start_seconds`: importing the plugin; `seconds`: scoring; both wall time, and their sum bounds CPU time.
    `update_seconds`: more for each update of a training that is confined with its hook or learner.
    `memory_bytes`: beyond what the template holds already; `output_bytes`: printed to stdout and stderr;
    `folder_bytes`: all of the private temporary folder; `file_bytes`: one file in it.
    """

    start_seconds: float = 60.0
    seconds: float = 1800.0
    update_seconds: float = 5.0
    memory_bytes: int = 16 * 1024 * MIB
    output_bytes: int = MIB
    folder_bytes: int = 64 * MIB
    file_bytes: int = 64 * MIB
    open_files: int = 256
    tail_characters: int = 400

    def seconds_for(self, updates: int) -> float:
        """Of the clock, and of the processor, for a training of so many updates."""
        return self.seconds + self.update_seconds * updates


# The same processor features and libraries as the harness, or the bits differ; nothing else of its environment.
PASSED_ON = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "ATEN_", "MKL_", "DNNL_", "ONEDNN_", "OMP_", "KMP_", "GOMP_")
OWN_ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/dev/shm",
    "TMPDIR": "/dev/shm",
    "USER": "plugin",
    "PYTHONHASHSEED": "0",  # sets are in the same order in every run
    "PYTHONDONTWRITEBYTECODE": "1",
    "CUDA_VISIBLE_DEVICES": "",  # pruners score on the CPU; its driver would start threads
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}


def environment(harness: Mapping[str, str]) -> dict[str, str]:
    """The environment of the template and so of every plugin."""
    return {**{name: value for name, value in harness.items() if name.startswith(PASSED_ON)}, **OWN_ENVIRONMENT}


CLONE = {"user": 0x10000000, "pid": 0x20000000, "net": 0x40000000, "mount": 0x00020000, "ipc": 0x08000000}
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 24, 36, 38
PACKAGE = Path(__file__).resolve().parents[2]

# What libraries ask the system about the processor: without it some choose other kernels, which round differently.
DESCRIPTIONS = ("/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu")
SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/dev/urandom", "/dev/zero", *DESCRIPTIONS)


@dataclass(frozen=True)
class Protections:
    """Which of the protections are on."""

    limits: bool = True
    namespaces: bool = False
    own_root: bool = False
    scratch: bool = False
    landlock: bool = False
    system_calls: bool = False

    @property
    def no_network(self) -> bool:
        """Whether the plugin is cut off from the network, by a namespace or by refusing it sockets."""
        return self.namespaces or self.system_calls

    def sentence(self) -> str:
        """One line for a terminal: what holds on this system, and what does not."""
        holds = {
            "no network": self.no_network,
            "no files but the interpreter's": self.landlock,
            "a read-only root of their own": self.own_root,
            "no other processes": self.namespaces or self.system_calls,
            "only listed system calls": self.system_calls,
            "limits on time, memory and output": self.limits,
        }
        on, off = ([what for what, held in holds.items() if held is wanted] for wanted in (True, False))
        text = f"Pruners run in processes of their own: {', '.join(on)}."
        return text + (f" NOT enforced on this system: {', '.join(off)}; run only pruners you trust." if off else "")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """On Linux, have the kernel kill this process when its parent ends; elsewhere the closed pipe has to do."""
    if platform.system() == "Linux":
        _libc().prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def adopt_orphans() -> None:
    """On Linux, become the parent of grandchildren whose parent ends, so that they can be found and killed."""
    if platform.system() == "Linux":
        _libc().prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def enter_namespaces() -> bool:
    """New namespaces of users, network, mounts and IPC for this process, and of processes for its next child.

    False, with nothing changed, where the system does not allow it (many containers, some distributions).
    """
    if platform.system() != "Linux":
        return False
    user, group = os.geteuid(), os.getegid()
    if _libc().unshare(sum(CLONE.values())):
        return False
    try:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    except OSError:
        return True  # in them all the same, as nobody: files cannot be created, which is what a plugin needs least
    return True


def readable_paths() -> tuple[str, ...]:
    """What every plugin may read: the interpreter's library, installed packages, this package, and `SYSTEM`."""
    roots = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    roots |= {path for path in sys.path if Path(path).name in ("site-packages", "dist-packages", "lib-dynload")}
    roots |= {str(Path(sys.base_prefix) / "lib"), str(PACKAGE)}
    return (*sorted(roots), *SYSTEM)


def import_paths() -> list[str]:
    """Where this process imports from, the benchmark's own code first: for an interpreter that is to find the same."""
    return [str(PACKAGE.parent), *(os.path.abspath(path) for path in sys.path if path)]


def limit_resources(limits: Limits) -> None:
    """Bounds that every Unix has. Memory counts from what this process holds already."""
    seconds = int(limits.start_seconds + limits.seconds) + 1
    bounds = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_NOFILE: limits.open_files,
    }
    if platform.system() == "Linux":  # elsewhere it is not enforced, or what is held already is not known
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        bounds[resource.RLIMIT_AS] = pages * resource.getpagesize() + limits.memory_bytes
        with suppress(OSError):  # if memory runs out all the same, this process goes, not the harness
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    for what, bound in bounds.items():
        hard = resource.getrlimit(what)[1]
        own = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(what, (own, own))


def drop_capabilities() -> None:
    """Root in a container, or in the new user namespace, keeps no power of root's."""
    if platform.system() != "Linux":
        return
    libc = _libc()
    for number in range(64):
        libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3, this process
    libc.capset(header, (ctypes.c_uint32 * 6)())


# Landlock: numbers and rights of the kernel's linux/landlock.h.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
VERSION_FLAG, PATH_BENEATH = 1, 1
EXECUTE, READ_FILE, WRITE_FILE, READ_DIR, TRUNCATE = 1 << 0, 1 << 2, 1 << 1, 1 << 3, 1 << 14
FOR_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | 1 << 15
RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}  # ABI version -> number of file system rights it knows
TCP = 0b11  # bind and connect, since version 4
SIGNALS_AND_ABSTRACT_SOCKETS = 0b11  # since version 6


def landlock_version(libc: ctypes.CDLL) -> int:
    """The kernel's Landlock ABI; 0 without one."""
    if platform.system() != "Linux":
        return 0
    return max(0, int(libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION_FLAG)))


def restrict_files(readable: Iterable[str], writable: Iterable[str]) -> bool:
    """Leave this process what lies under `readable`, to read, and under `writable`, to do anything. Absent ones count
    as nothing. Where the kernel can, TCP and signals to processes outside go too. False: no Landlock here.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    abi = landlock_version(libc)
    if not abi:
        return False
    every = (1 << max(bits for since, bits in RIGHTS.items() if since <= abi)) - 1
    handled = [every, *([TCP] if abi >= 4 else []), *([SIGNALS_AND_ABSTRACT_SOCKETS] if abi >= 6 else [])]
    rules = struct.pack(f"{len(handled)}Q", *handled)  # struct landlock_ruleset_attr, as long as this kernel knows it
    ruleset = int(libc.syscall(CREATE_RULESET, rules, ctypes.c_size_t(len(rules)), 0))
    if ruleset < 0:
        return False
    try:
        for path in readable:
            _allow(libc, ruleset, path, every & (READ_FILE | READ_DIR | EXECUTE))
        for path in writable:
            _allow(libc, ruleset, path, every)
        if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            return False
        done: int = libc.syscall(RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return done == 0


def _allow(libc: ctypes.CDLL, ruleset: int, path: str, rights: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rule = struct.pack("=Qi", rights if Path(path).is_dir() else rights & FOR_FILES, parent)
        libc.syscall(ADD_RULE, ruleset, PATH_BENEATH, rule, 0)
    finally:
        os.close(parent)


def confine(limits: Limits, namespaces: bool, readable: Iterable[str]) -> Protections:
    """Put on everything this system has, for good. `namespaces`: whether the parent has entered them."""
    readable = (*readable_paths(), *readable)
    limit_resources(limits)  # first: it asks /proc, of which the own root has next to nothing
    private = namespaces and keep_mounts_private()
    own_root = private and enter_own_root(readable, limits.folder_bytes)
    scratch = own_root or (private and mount_scratch(SCRATCH, limits.folder_bytes))
    drop_capabilities()
    landlock = restrict_files(readable, ("/dev/null", SCRATCH) if scratch else ("/dev/null",))
    return Protections(True, namespaces, own_root, scratch, landlock, refuse_system_calls())


@lru_cache(maxsize=1)
def describe() -> Protections:
    """What is on when a plugin runs on this system, found by confining a short-lived process."""
    text = "from benchmark.plugins.sandbox.confinement import _probe; _probe()"
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", text],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
            env={"PYTHONPATH": os.pathsep.join(import_paths())},
            cwd="/",
        )
        known = {field.name for field in fields(Protections)}
        return Protections(**{name: bool(on) for name, on in json.loads(done.stdout).items() if name in known})
    except (OSError, subprocess.SubprocessError, ValueError):
        return Protections(limits=False)


def _probe() -> None:
    entered = enter_namespaces()
    sys.stdout.flush()
    if os.fork() == 0:
        print(json.dumps(asdict(confine(Limits(), entered, ()))), flush=True)
        os._exit(0)
    os.wait()
