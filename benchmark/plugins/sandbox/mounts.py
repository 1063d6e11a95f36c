"""A root of the sandbox's own: what a plugin may read, read-only, at the same paths, and an empty folder. Linux.

Needs namespaces of users and mounts. Where there are none, or the kernel refuses a step, nothing is lost but what this
adds: Landlock still says what can be opened. What it adds: other files are not even there to be named, and a read-only
mount keeps the kernel from writing what a descriptor that is open for reading can otherwise change (attributes,
versions, times of access).

bubblewrap would build the same tree, but it starts a new program, and importing torch anew for each mask takes seconds.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

SCRATCH = "/dev/shm"  # the one folder a plugin may write; a new empty one is put over the system's
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MS_NOSUID_NODEV_NOEXEC = 2 | 4 | 8
MNT_DETACH = 2
MOUNT_SETATTR, PIVOT_ROOT = 442, {"x86_64": 155, "aarch64": 41}
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
ATTRIBUTES = ctypes.c_uint64 * 4  # struct mount_attr: to set, to clear, propagation, namespace
READ_ONLY_NOSUID = 1 | 2


class MountProblem(OSError):
    """The kernel refuses a step."""


def mount_scratch(at: str, folder_bytes: int) -> bool:
    """An empty folder in memory, of limited size, over the folder `at`. It vanishes with the mount namespace."""
    options = f"size={folder_bytes},nr_inodes=1024,mode=0700".encode()
    return _mount("none", at, MS_NOSUID_NODEV_NOEXEC, "tmpfs", options)


def keep_mounts_private() -> bool:
    """What is mounted from here on stays in this process's mount namespace."""
    return _mount("none", "/", MS_REC | MS_PRIVATE)


def enter_own_root(readable: Iterable[str], folder_bytes: int) -> bool:
    """Make a root that holds `readable` and an empty `SCRATCH`, and leave the other one for good.

    Mounts must be private. False, with `SCRATCH` maybe covered by an empty folder, where a step is refused.
    """
    with suppress(OSError):
        _build(SCRATCH, readable)
        _read_only(SCRATCH)
        if mount_scratch(SCRATCH + SCRATCH, folder_bytes):
            _pivot(SCRATCH)
            return True
    return False


def _build(root: str, readable: Iterable[str]) -> None:
    """Mount an empty tree at `root` and into it, at its own path, each thing that may be read and exists."""
    if not _mount("none", root, MS_NOSUID_NODEV_NOEXEC & ~4, "tmpfs", b"size=1m,mode=0755"):
        raise MountProblem(root)
    Path(root + SCRATCH).mkdir(parents=True)
    placed = set[str]()
    for path in (*readable, "/dev/null"):
        real = _mirror(root, path)
        if os.path.exists(real) and not any(real == known or real.startswith(known + "/") for known in placed):
            _bind(real, root + real)
            placed.add(real)


def _mirror(root: str, path: str) -> str:
    """Make folders and symbolic links below `root` as they are on the way to `path`; where the last one leads."""
    real = "/"
    for part in Path(path).parts[1:]:
        step = os.path.join(real, part)
        if os.path.islink(step):
            if not os.path.lexists(root + step):
                os.symlink(os.readlink(step), root + step)
            real = _mirror(root, os.path.normpath(os.path.join(real, os.readlink(step))))
        else:
            if os.path.isdir(step) and not os.path.lexists(root + step):
                os.mkdir(root + step)
            real = step
    return real


def _bind(path: str, target: str) -> None:
    if not os.path.isdir(path):
        with suppress(FileExistsError):
            os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC))
    if not _mount(path, target, MS_BIND | MS_REC):
        raise MountProblem(path)


def _read_only(root: str) -> None:
    """The tree and all in it: nothing can be written, nor set-user-id programs gain anything."""
    wanted = ATTRIBUTES(READ_ONLY_NOSUID, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    if _libc().syscall(MOUNT_SETATTR, AT_FDCWD, root.encode(), AT_RECURSIVE, ctypes.byref(wanted), size):
        raise MountProblem(root)


def _pivot(root: str) -> None:
    """Have `root` as `/`, with the old one gone."""
    os.chdir(root)
    number = PIVOT_ROOT.get(os.uname().machine)
    if number is None or _libc().syscall(number, b".", b"."):
        raise MountProblem(root)
    if _libc().umount2(b".", MNT_DETACH):
        os._exit(71)  # the old root would lie under the new one: no state to go on from
    os.chdir("/")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _mount(source: str, target: str, flags: int, kind: str | None = None, options: bytes | None = None) -> bool:
    name = None if kind is None else kind.encode()
    done: int = _libc().mount(source.encode(), target.encode(), name, ctypes.c_ulong(flags), options)
    return done == 0
