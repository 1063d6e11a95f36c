"""A seccomp filter: the system calls a plugin may make, with the arguments it may give them. All others are refused.

A list of permissions: memory, the files that Landlock and the mounts leave, the one channel, the clock, its own
signals. No processes (nor threads: scores must not depend on their number), no sockets, no signals to others, no locks,
leases, advice or attributes of files, which outlive the plugin or reach other processes through the kernel. No pipes
either: each takes a number from a counter that all processes share, so thousands of them leave word for a later mask.

What is not named is refused as PermissionError, so that a library may do without; numbers that no table here knows as
"not implemented", as a kernel older than they are would. What no library of honest use makes ends the process
(`FATAL`), and so do the calls of other architectures (i386, x32), which would be a second way to everything.
Needs no privileges and works in any container. The filter program of docs/security.md, "System calls".
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Callable

from benchmark.plugins.sandbox.system_call_numbers import ALLOWED, CALLS, FATAL, LAST

MACHINES = ("x86_64", "aarch64")
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32_BIT = 0x40000000
ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x00050000 | 1, 0x00050000 | 38
LOAD, EQUAL, ABOVE, ANY_BIT, AND, RETURN = 0x20, 0x15, 0x25, 0x45, 0x54, 0x06  # of classic BPF
NUMBER, ARCH, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
SECCOMP_MODE_FILTER = 2

Rule = Callable[[int], list[bytes]]
"""From a place among `MACHINES`: instructions that refuse what it forbids, and fall through otherwise."""


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


REFUSE = _instruction(RETURN, EPERM)


def _low(argument: int) -> bytes:
    """Load the lower half of an argument: all that the kernel reads of an int."""
    return _instruction(LOAD, ARGUMENTS + 8 * argument)


def one_of(argument: int, *values: int, ignoring: int = 0) -> Rule:
    """An int argument that, but for the bits of `ignoring`, is one of some values."""

    def lines(_machine: int) -> list[bytes]:
        tests = [_instruction(EQUAL, value, len(values) - place, 0) for place, value in enumerate(values)]
        masked = [_instruction(AND, ~ignoring & 0xFFFFFFFF)] if ignoring else []
        return [_low(argument), *masked, *tests, REFUSE]

    return lines


def bits(argument: int, *allowed: int) -> Rule:
    """An int argument with no bit set but those allowed; one number, or one for each of `MACHINES`."""

    def lines(machine: int) -> list[bytes]:
        others = ~allowed[machine % len(allowed)] & 0xFFFFFFFF
        return [_low(argument), _instruction(ANY_BIT, others, 0, 1), REFUSE]

    return lines


def null(argument: int) -> Rule:
    """A pointer that points nowhere."""

    def lines(_machine: int) -> list[bytes]:
        high = _instruction(LOAD, ARGUMENTS + 8 * argument + 4)
        zero = _instruction(EQUAL, 0, 1, 0)
        return [_low(argument), zero, REFUSE, high, zero, REFUSE]

    return lines


def when(argument: int, value: int, rule: Rule) -> Rule:
    """`rule`, where an int argument is `value`."""

    def lines(machine: int) -> list[bytes]:
        held = rule(machine)
        return [_low(argument), _instruction(EQUAL, value, 0, len(held)), *held]

    return lines


def _of(own_pid: int) -> dict[str, tuple[Rule, ...]]:
    """The calls whose arguments are looked at, by name; `own_pid`: the only process that it may name."""
    set_flags = bits(2, 0o2 | 0o1 | 0o2000 | 0o4000 | 0o100000, 0o2 | 0o1 | 0o2000 | 0o4000 | 0o400000)
    return {
        # Reading, writing, creating; not O_ASYNC, O_DIRECT or O_NOATIME. Flags have other numbers on aarch64.
        "openat": (bits(2, 0x6B8FC3, 0x6ACFC3),),
        # PROT_READ, WRITE and EXEC: libraries write code and run it. Not huge, locked or growing down.
        "mmap": (bits(2, 7), bits(3, 0x12D833)),
        "mprotect": (bits(2, 7),),
        "mremap": (bits(3, 3),),
        # DONTNEED, FREE, HUGEPAGE, NOHUGEPAGE, DONTDUMP, DODUMP: of its own memory. Not COLD, PAGEOUT, WILLNEED,
        # which move pages of shared files.
        "madvise": (one_of(2, 4, 8, 14, 15, 16, 17),),
        # F_DUPFD, GETFD, SETFD, GETFL, SETFL, DUPFD_CLOEXEC. Not locks, leases, owners, notifications, pipe sizes.
        "fcntl": (one_of(1, 0, 1, 2, 3, 4, 1030), when(1, 4, set_flags)),
        # TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX. Not attributes of files (FS_IOC_*), owners, TIOCSTI.
        "ioctl": (one_of(1, 0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451),),
        "prctl": (one_of(0, 15, 16, 23),),  # PR_SET_NAME, GET_NAME, CAPBSET_READ. Not PDEATHSIG, to outlive its guard
        # WAIT, WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP, WAIT_BITSET, WAKE_BITSET; private or not. No priority inheritance
        "futex": (one_of(1, 0, 1, 3, 4, 5, 9, 10, ignoring=0x180),),
        "getsockopt": (one_of(1, 1), one_of(2, 3, 4, 38, 39)),  # SO_TYPE, ERROR, PROTOCOL, DOMAIN. Not PEERCRED
        "kill": (one_of(0, own_pid),),
        "tgkill": (one_of(0, own_pid),),
        "prlimit64": (one_of(0, 0, own_pid), null(2)),  # reading its own
        "renameat2": (bits(4, 1),),  # RENAME_NOREPLACE
        # MSG_PEEK, TRUNC, DONTWAIT, WAITALL, NOSIGNAL, on the channel. Not MSG_OOB, whose queue in Unix sockets was
        # broken more than once, ERRQUEUE or ZEROCOPY; nor an address to send to.
        "recvfrom": (bits(3, 0x4162),),
        "sendto": (bits(3, 0x4040), null(4)),
    }


def program(machine: str, own_pid: int) -> bytes:
    """The filter as an array of struct sock_filter, for "x86_64" or "aarch64"."""
    place, rules = MACHINES.index(machine), _of(own_pid)
    allow, kill = _instruction(RETURN, ALLOW), _instruction(RETURN, KILL)
    lines = [_instruction(LOAD, ARCH), _instruction(EQUAL, AUDIT_ARCH[machine], 1, 0), kill]
    lines.append(_instruction(LOAD, NUMBER))
    if machine == "x86_64":
        lines += [_instruction(ANY_BIT, X32_BIT, 0, 1), kill]

    def case(name: str, body: list[bytes]) -> list[bytes]:
        number = CALLS[name][place]
        return [] if number is None else [_instruction(EQUAL, number, 0, len(body)), *body]

    for name in ALLOWED:
        lines += case(name, [allow])
    for name, checks in rules.items():
        lines += case(name, [*(line for check in checks for line in check(place)), allow])
    for name in FATAL:
        lines += case(name, [kill])
    return b"".join([*lines, _instruction(ABOVE, LAST, 0, 1), _instruction(RETURN, ENOSYS), REFUSE])


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def refuse_system_calls() -> bool:
    """Put the filter on this process, for good; False where there is none for this system or processor."""
    if platform.system() != "Linux" or platform.machine() not in AUDIT_ARCH or struct.calcsize("P") != 8:
        return False
    text = program(platform.machine(), os.getpid())
    held = ctypes.create_string_buffer(text, len(text))
    packed = _Program(len(text) // 8, ctypes.cast(held, ctypes.c_void_p))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return False
    done: int = libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(packed), 0, 0)
    return done == 0
