"""Landlock (Linux 5.13 and newer): the files a process may still open. Unprivileged, inherited, irrevocable."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterable
from pathlib import Path

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
VERSION_FLAG, PATH_BENEATH = 1, 1
PR_SET_NO_NEW_PRIVS = 38
EXECUTE, READ_FILE, WRITE_FILE, READ_DIR, TRUNCATE = 1 << 0, 1 << 2, 1 << 1, 1 << 3, 1 << 14
FOR_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | 1 << 15
RIGHTS = {1: 13, 2: 14, 3: 15, 5: 16}  # ABI version -> number of file system rights it knows
TCP = 0b11  # bind and connect, since version 4
SIGNALS_AND_ABSTRACT_SOCKETS = 0b11  # since version 6


def version(libc: ctypes.CDLL) -> int:
    """The kernel's Landlock ABI; 0 without one."""
    if platform.system() != "Linux":
        return 0
    return max(0, int(libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION_FLAG)))


def restrict_files(readable: Iterable[str], writable: Iterable[str]) -> bool:
    """Leave this process what lies under `readable`, to read, and under `writable`, to do anything. Absent ones count
    as nothing. Where the kernel can, TCP and signals to processes outside go too. False: no Landlock here.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    abi = version(libc)
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
