"""Numbers of system calls on x86_64 and aarch64, and which of them a plugin may make. See `system_calls`.

From the kernel's asm/unistd_64.h and asm-generic/unistd.h (6.1), which never change.
"""

from __future__ import annotations

Numbers = tuple[int | None, int | None]
"""(x86_64, aarch64); None: it does not exist there."""
LAST = 511
"""Above it are numbers that no kernel has given out on these architectures."""

_ALLOWED: dict[str, Numbers] = {
    # files, as far as Landlock and the mounts go
    "read": (0, 63), "write": (1, 64), "close": (3, 57), "newfstatat": (262, 79), "fstat": (5, 80), "lseek": (8, 62),
    "pread64": (17, 67), "readv": (19, 65), "writev": (20, 66), "preadv": (295, 69), "pwrite64": (18, 68),
    "pwritev": (296, 70), "stat": (4, None), "lstat": (6, None), "statx": (332, 291), "access": (21, None),
    "faccessat": (269, 48), "faccessat2": (439, 439), "readlink": (89, None), "readlinkat": (267, 78),
    "getdents64": (217, 61), "getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50), "umask": (95, 166),
    "mkdir": (83, None), "mkdirat": (258, 34), "rmdir": (84, None), "unlink": (87, None), "unlinkat": (263, 35),
    "rename": (82, None), "renameat": (264, 38), "ftruncate": (77, 46), "dup": (32, 23), "dup2": (33, None),
    "dup3": (292, 24), "poll": (7, None), "ppoll": (271, 73),
    "select": (23, None), "pselect6": (270, 72), "epoll_create1": (291, 20), "epoll_ctl": (233, 21),
    "epoll_wait": (232, None), "epoll_pwait": (281, 22), "close_range": (436, 436), "msync": (26, 227),
    # the channel, which is open already
    "shutdown": (48, 210), "getsockname": (51, 204),
    "getpeername": (52, 205),
    # memory, waiting, time
    "brk": (12, 214), "munmap": (11, 215), "nanosleep": (35, 101), "clock_nanosleep": (230, 115),
    "clock_gettime": (228, 113), "clock_getres": (229, 114), "gettimeofday": (96, 169), "time": (201, None),
    "times": (100, 153), "getrandom": (318, 278), "sched_yield": (24, 124), "sched_getaffinity": (204, 123),
    "getcpu": (309, 168), "restart_syscall": (219, 128), "set_robust_list": (273, 99), "rseq": (334, 293),
    # signals to itself
    "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "rt_sigpending": (127, 136),
    "rt_sigtimedwait": (128, 137), "rt_sigsuspend": (130, 133), "sigaltstack": (131, 132), "pause": (34, None),
    "alarm": (37, None), "setitimer": (38, 103), "getitimer": (36, 102),
    # what it is, and its end
    "getpid": (39, 172), "gettid": (186, 178), "getppid": (110, 173), "getuid": (102, 174), "geteuid": (107, 175),
    "getgid": (104, 176), "getegid": (108, 177), "getgroups": (115, 158), "getresuid": (118, 148),
    "getresgid": (120, 150), "getpgrp": (111, None), "getpgid": (121, 155), "getsid": (124, 156), "uname": (63, 160),
    "sysinfo": (99, 179), "getrusage": (98, 165), "getrlimit": (97, 163), "getpriority": (140, 141),
    "wait4": (61, 260), "waitid": (247, 95), "exit": (60, 93), "exit_group": (231, 94),
}  # fmt: skip
_RULED: dict[str, Numbers] = {
    # with some arguments only, see `system_calls`
    "openat": (257, 56), "mmap": (9, 222), "mprotect": (10, 226), "mremap": (25, 216), "madvise": (28, 233),
    "fcntl": (72, 25), "ioctl": (16, 29), "prctl": (157, 167), "futex": (202, 98), "getsockopt": (55, 209),
    "kill": (62, 129), "tgkill": (234, 131), "prlimit64": (302, 261), "renameat2": (316, 276),
    "recvfrom": (45, 207), "sendto": (44, 206),
}  # fmt: skip
_FATAL: dict[str, Numbers] = {
    # other processes' memory and handles
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "pidfd_getfd": (438, 438),
    # parts of the kernel that are often broken
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219),
    # namespaces, mounts, handles of files
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "open_by_handle_at": (304, 265), "quotactl": (179, 60), "swapon": (167, 224), "swapoff": (168, 225),
    "acct": (163, 89),
    # the machine
    "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "settimeofday": (164, 170), "clock_settime": (227, 112),
    "clock_adjtime": (305, 266), "adjtimex": (159, 171), "syslog": (103, 116), "iopl": (172, None),
    "ioperm": (173, None), "modify_ldt": (154, None),
}  # fmt: skip
ALLOWED, FATAL = tuple(_ALLOWED), tuple(_FATAL)
CALLS: dict[str, Numbers] = {**_ALLOWED, **_RULED, **_FATAL}
