"""Confinement of the process that runs a plugin: which protections this system has, and putting them on. No torch."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path

from benchmark.plugins.sandbox.landlock import restrict_files
from benchmark.plugins.sandbox.limits import Limits
from benchmark.plugins.sandbox.system_calls import refuse_system_calls

CLONE = {"user": 0x10000000, "pid": 0x20000000, "net": 0x40000000, "mount": 0x00020000, "ipc": 0x08000000}
MS_NOSUID_NODEV_NOEXEC, MS_REC_PRIVATE = 2 | 4 | 8, 0x4000 | 0x40000
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_CHILD_SUBREAPER = 1, 24, 36
PACKAGE = Path(__file__).resolve().parents[2]
SCRATCH = "/dev/shm"  # the one folder a plugin may write; a new empty one is put over the system's

# What libraries ask the system about the processor: without it some choose other kernels, which round differently.
DESCRIPTIONS = ("/proc/cpuinfo", "/proc/meminfo", "/sys/devices/system/cpu")
SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/etc/ld.so.cache", "/dev/urandom", "/dev/zero", *DESCRIPTIONS)


@dataclass(frozen=True)
class Protections:
    """Which of the protections are on."""

    limits: bool = True
    namespaces: bool = False
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
            "no other processes": self.namespaces or self.system_calls,
            "system calls filtered": self.system_calls,
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


def mount_scratch(limits: Limits) -> bool:
    """An empty folder in memory, of limited size, over `SCRATCH`. Needs own namespaces; it vanishes with them."""
    options = f"size={limits.folder_bytes},nr_inodes=1024,mode=0700".encode()
    libc = _libc()
    if libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC_PRIVATE), None):
        return False
    flags = ctypes.c_ulong(MS_NOSUID_NODEV_NOEXEC)
    done: int = libc.mount(b"tmpfs", SCRATCH.encode(), b"tmpfs", flags, options)
    return done == 0


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


def confine(limits: Limits, namespaces: bool, readable: Iterable[str]) -> Protections:
    """Put on everything this system has, for good. `namespaces`: whether the parent has entered them."""
    on = Protections(namespaces=namespaces, scratch=namespaces and mount_scratch(limits))
    limit_resources(limits)
    drop_capabilities()
    on = replace(
        on,
        landlock=restrict_files(
            (*readable_paths(), *readable), ("/dev/null", SCRATCH) if on.scratch else ("/dev/null",)
        ),
    )
    return replace(on, system_calls=refuse_system_calls())


@lru_cache(maxsize=1)
def describe() -> Protections:
    """What is on when a plugin runs on this system, found by confining a short-lived process."""
    text = "from benchmark.plugins.sandbox.sandbox import _probe; _probe()"
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
