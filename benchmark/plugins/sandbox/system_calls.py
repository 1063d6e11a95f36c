"""A seccomp filter: the system calls a plugin is refused, as PermissionError, with no privileges and in any container.

A list of refusals, not of permissions: namespaces and Landlock bound what can be reached, and this takes away what
they leave open. No processes (nor threads: scores must not depend on their number), no sockets, no signals to others,
no changes of modes, owners, times or limits, and none of the kernel's rarely used and often broken parts.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

# name -> number on (x86_64, aarch64); None: it does not exist there
REFUSED: dict[str, tuple[int | None, int | None]] = {
    # processes and threads
    "clone": (56, 220), "clone3": (435, 435), "fork": (57, None), "vfork": (58, None),
    "execve": (59, 221), "execveat": (322, 281),
    # the network, and every socket but the one that is there already
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200),
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "process_madvise": (440, 440), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    # namespaces and mounts
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "quotactl": (179, 60), "swapon": (167, 224),
    "swapoff": (168, 225), "acct": (163, 89),
    # ways around the above, and large attack surfaces
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "memfd_create": (319, 279), "memfd_secret": (447, 447),
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219), "shmget": (29, 194), "shmat": (30, 196),
    "msgget": (68, 186), "msgsnd": (69, 189), "semget": (64, 190), "semop": (65, 193), "mq_open": (240, 180),
    "mq_unlink": (241, 181), "fanotify_init": (300, 262), "inotify_init": (253, None), "inotify_init1": (294, 26),
    # what Landlock does not watch: modes, owners, attributes and times of files that can be named
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None),
    "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "setxattrat": (463, 463), "removexattr": (197, 14), "lremovexattr": (198, 15),
    "fremovexattr": (199, 16), "removexattrat": (466, 466), "utime": (132, None), "utimes": (235, None),
    "futimesat": (261, None), "utimensat": (280, 88),
    # limits, priorities and the machine
    "setrlimit": (160, 164), "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119), "sched_setattr": (314, 274), "sched_setparam": (142, 118),
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "sethostname": (170, 161), "setdomainname": (171, 162),
    "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266), "adjtimex": (159, 171),
    "syslog": (103, 116),
}  # fmt: skip
TO_ITSELF = {"kill": (62, 129), "tgkill": (234, 131)}  # allowed if the first argument is the caller
SET_LIMIT = {"prlimit64": (302, 261)}  # allowed if the third argument, the new limit, is null
# allowed but for these operations, by (numbers, argument that says which, operations)
CONTROL: dict[str, tuple[tuple[int, int], int, tuple[int, ...]]] = {
    "prctl": ((157, 167), 0, (1,)),  # PR_SET_PDEATHSIG: to outlive its guard
    "fcntl": ((72, 25), 1, (8, 10, 15)),  # F_SETOWN, F_SETSIG, F_SETOWN_EX: signals to others by way of a file
    "ioctl": ((16, 29), 1, (0x8901, 0x8902, 0x5412)),  # FIOSETOWN, SIOCSPGRP: the same; TIOCSTI: typing for others
}

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
ALLOW, KILL, EPERM = 0x7FFF0000, 0x80000000, 0x00050000 | 1
LOAD, EQUAL, AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06  # of classic BPF
NUMBER, ARCH, ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 22, 38
SECCOMP_MODE_FILTER = 2


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def program(machine: str, own_pid: int) -> bytes:
    """The filter as an array of struct sock_filter, for "x86_64" or "aarch64"."""
    column = list(AUDIT_ARCH).index(machine)
    refuse, allow = _instruction(RETURN, EPERM), _instruction(RETURN, ALLOW)

    def case(numbers: tuple[int | None, int | None], body: list[bytes]) -> list[bytes]:
        number = numbers[column]
        return [] if number is None else [_instruction(EQUAL, number, 0, len(body)), *body]

    def low(argument: int) -> bytes:
        return _instruction(LOAD, ARGUMENTS + 8 * argument)

    lines = [_instruction(LOAD, ARCH), _instruction(EQUAL, AUDIT_ARCH[machine], 1, 0), _instruction(RETURN, KILL)]
    lines.append(_instruction(LOAD, NUMBER))
    if machine == "x86_64":  # the x32 numbers would be a second way to everything
        lines += [_instruction(AT_LEAST, 0x40000000, 0, 1), refuse]
    for numbers in REFUSED.values():
        lines += case(numbers, [refuse])
    for numbers in TO_ITSELF.values():
        lines += case(numbers, [low(0), _instruction(EQUAL, own_pid, 1, 0), refuse, allow])
    for numbers in SET_LIMIT.values():
        high = _instruction(LOAD, ARGUMENTS + 8 * 2 + 4)
        null = [low(2), _instruction(EQUAL, 0, 1, 0), refuse, high, _instruction(EQUAL, 0, 1, 0), refuse, allow]
        lines += case(numbers, null)
    for numbers, argument, operations in CONTROL.values():
        refusals = [part for operation in operations for part in (_instruction(EQUAL, operation, 0, 1), refuse)]
        lines += case(numbers, [low(argument), *refusals, allow])
    return b"".join([*lines, allow])


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
