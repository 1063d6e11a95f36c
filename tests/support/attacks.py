"""Attacks by plugins: lines of Python that run where a score is computed, and the barrier that each must meet.

Names at hand: `libc`, `call(number, *arguments)` of x86_64 (raises ValueError with result and errno), FILE (a secret of
this user), OPEN (a descriptor of a file that plugins may read), HARNESS (its process).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Barrier = Literal["refused", "killed", "absent", "bounded", "distrusted"]
"""refused: EPERM and the like; killed: SIGSYS; absent: nothing there to be reached; bounded: a limit strikes;
distrusted: the harness's half does not believe what it reads."""

PRELUDE = """
import errno, fcntl, mmap, struct
libc = ctypes.CDLL(None, use_errno=True)
FILE, HARNESS = {file!r}, {harness}
OPEN = os.open(torch.__file__, os.O_RDONLY)
def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(number, *(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments))
    raise ValueError((result, errno.errorcode.get(ctypes.get_errno())))
def machine(code):
    page = mmap.mmap(-1, 4096, prot=7)
    page.write(code + b"\\xc3")
    return ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
import benchmark.plugins.sandbox.wire as wire
def frame(header, payload=b""):
    header = header if isinstance(header, bytes) else header.encode()
    os.write(3, struct.pack("!IQ", len(header), len(payload)) + header + payload)
COST = '"forward_passes":0,"backward_passes":0,"examples_seen":0'
ANSWER = '{{"say":"answer",' + COST + '}}'
"""


@dataclass(frozen=True)
class Attack:
    """`body`: its lines; `at_import`: they run when the plugin is loaded. `says`: one of these is in the reason."""

    name: str
    body: str
    barrier: Barrier
    says: tuple[str, ...] = ()
    at_import: bool = False

    def lines(self, file: Path, harness: int) -> str:
        """All that is to run."""
        return PRELUDE.format(file=str(file), harness=harness) + self.body


def _refused(calls: dict[str, str]) -> list[Attack]:
    return [
        Attack(name, body, "refused", ("'EPERM'", "Error", "can't start new thread", "-1"))
        for name, body in calls.items()
    ]


# Kernel interfaces that carry state out of the sandbox, or reach other processes: refused, and said so.
REFUSED = _refused({
    "flock": "fcntl.flock(OPEN, fcntl.LOCK_SH)",
    "record lock": "fcntl.lockf(OPEN, fcntl.LOCK_SH)",
    "looking at locks": "call(72, OPEN, 5, struct.pack('hhqqi', 0, 0, 0, 0, 0) + bytes(8))",
    "open file lock": "call(72, OPEN, 37, struct.pack('hhqqi', 0, 0, 0, 0, 0) + bytes(8))",
    "lease that stalls writers": "fcntl.fcntl(OPEN, fcntl.F_SETLEASE, fcntl.F_RDLCK)",
    "looking at leases": "call(72, OPEN, 1025)",
    "notes of changed folders": "call(72, os.open('/dev/shm', 0), 1026, 1)",
    "pipe size": "call(72, 1, 1031, 1 << 20)",
    "owner of signals": "call(72, 3, 8, HARNESS)",
    "signal of a file": "call(72, 3, 10, 9)",
    "asynchronous descriptor": "call(72, 3, 4, 0o20000)",
    "owner by ioctl": "call(16, 3, 0x8901, struct.pack('i', HARNESS))",
    "inode version": "call(16, OPEN, 0x40087602, struct.pack('q', 7))",
    "inode flags": "call(16, OPEN, 0x40086602, struct.pack('q', 16))",
    "project attributes": "call(16, OPEN, 0x401C5820, bytes(28))",
    "looking at inode versions": "call(16, OPEN, 0x80087601, bytes(8))",
    "clone of a file's blocks": "call(16, OPEN, 0x40049409, OPEN)",
    "typing for others": "call(16, 0, 0x5412, b'x')",
    "dropping the page cache": "os.posix_fadvise(OPEN, 0, 0, os.POSIX_FADV_DONTNEED)",
    "asking the page cache": "call(451, OPEN, bytes(16), bytes(40), 0)",
    "reading ahead": "call(187, OPEN, 0, 1 << 20)",
    "which pages are in memory": "page = mmap.mmap(OPEN, 4096, prot=1, flags=1)\ncall(27, 0, 4096, bytes(1))",
    "paging out": "call(28, 0, 4096, 21)",
    "cooling pages": "call(28, 0, 4096, 20)",
    "write back of the disk": "os.sync(); call(306, OPEN)",
    "flushing a file": "os.fsync(OPEN)",
    "free space of the disk": "os.statvfs('/')",
    "watching files": "call(294, 0)",
    "watching all files": "call(300, 0, 0)",
    "handle of a file": "call(303, -100, b'/', bytes(200), bytes(8), 0)",
    "memory file": "os.memfd_create('x')",
    "secret memory": "call(447, 0)",
    "shared memory": "call(29, 7, 4096, 0o1666)",
    "message queue": "call(68, 7, 0o1666)",
    "semaphores": "call(64, 7, 1, 0o1666)",
    "named queue": "call(240, b'x', 0o102, 0o666, None)",
    "another session": "os.setsid()",
    "another group": "os.setpgid(0, 0)",
    "personality": "call(135, 0x0040000)",
    "outliving the guard": "call(157, 1, 0, 0, 0, 0)",
    "who may trace it": "call(157, 0x59616D61, -1, 0, 0, 0)",
    "another filter": "call(317, 1, 0, bytes(16))",
    "limits": "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (9, 9))",
    "limits of others": "call(302, HARNESS, 7, None, bytes(16))",
    "another processor": "os.sched_setaffinity(0, {0})",
    "priority": "os.nice(1)",
    "input priority": "call(251, 1, 0, 0)",
    "locked memory": "call(151, 3)",
    "huge pages": "call(9, 0, 1 << 21, 3, 0x40022, -1, 0)",
    "passing descriptors": "socket.socket(fileno=3).sendmsg([b'x'], [(socket.SOL_SOCKET, 1, struct.pack('i', OPEN))])",
    "taking descriptors": "socket.socket(fileno=3).recvmsg(1, 64)",
    "whose channel it is": "socket.socket(fileno=3).getsockopt(1, 17, 12)",
    "bytes out of band": "socket.socket(fileno=os.dup(3)).send(b'x', socket.MSG_OOB)",
    "taking bytes out of band": "raise OSError if socket.socket(fileno=os.dup(3)).recv(1, socket.MSG_OOB) else 0",
    "looking at errors of a channel": "call(45, 3, bytes(9), 9, 0x2040, None, None)",
    "sending without a copy": "call(44, 3, bytes(9), 9, 0x4000000, None, 0)",
    "sending to an address": "call(44, 3, bytes(9), 9, 0, b'\\1\\0\\0x', 4)",
    "counting pipes": "for _ in range(10**4): os.pipe()",
    "counting pipes, without waiting": "call(293, bytes(8), 0o4000)",
    "splicing": "call(275, OPEN, None, 1, None, 64, 0)",
    "mode of a file": "os.fchmod(OPEN, 0o777)",
    "owner of a file": "os.fchown(OPEN, 0, 0)",
    "times of a file": "os.utime(OPEN)",
    "attributes of a file": "os.setxattr(OPEN, 'user.x', b'1')",
    "a link": "os.link(torch.__file__, '/dev/shm/x')",
    "a device": "os.mknod('/dev/shm/x', 0o20666, os.makedev(1, 1))",
    "a thread": "threading.Thread(target=print).start()",
    "clone3": "call(435, bytes(88), 88)",
    "vfork": "call(58)",
    "another program": "os.execv(sys.executable, ['python'])",
    "a socket": "socket.create_connection(('127.0.0.1', 80))",
    "an abstract socket": "socket.socket(socket.AF_UNIX).connect('\\0x')",
    "a netlink socket": "socket.socket(16, 3, 0)",
    "a signal to the harness": "os.kill(HARNESS, 9)",
    "a signal to everybody": "os.kill(-1, 9)",
    "a signal to the group": "os.kill(0, 9)",
    "a signal to a thread": "call(200, HARNESS, 9)",
    "a queued signal": "call(129, HARNESS, 9, bytes(128))",
    "a handle of a process": "os.pidfd_open(HARNESS)",
    "priority inheritance": "call(202, bytes(8), 6, 0, None, None, 0)",
    "open at by structure": "call(437, -100, b'/etc/passwd', bytes(24), 24)",
    "reading past the cache": "os.open(torch.__file__, os.O_RDONLY | os.O_DIRECT)",
    "no time of access": "os.open(torch.__file__, os.O_RDONLY | os.O_NOATIME)",
})  # fmt: skip

# Nothing of honest use asks for these; whoever does is ended.
KILLED = [Attack(name, body, "killed", ("killed by SIG",)) for name, body in {
    "tracing the harness": "call(101, 16, HARNESS, 0, 0)",
    "reading the harness's memory": "call(310, HARNESS, None, 0, None, 0, 0)",
    "writing the harness's memory": "call(311, HARNESS, None, 0, None, 0, 0)",
    "comparing handles": "call(312, HARNESS, HARNESS, 0, 0, 0)",
    "taking a handle": "call(438, 3, 0, 0)",
    "queues of input and output": "call(425, 1, bytes(120))",
    "kernel programs": "call(321, 0, bytes(64), 64)",
    "performance counters": "call(298, bytes(112), 0, -1, -1, 0)",
    "page faults": "call(323, 0)",
    "keys": "call(250, 0, -3, 1)",
    "namespaces": "call(272, 0x10000000)",
    "joining namespaces": "call(308, OPEN, 0)",
    "mounting": "call(165, b'none', b'/dev/shm', b'tmpfs', 0, None)",
    "another root": "call(161, b'/dev/shm')",
    "opening by handle": "call(304, OPEN, bytes(32), 0)",
    "a kernel module": "call(313, OPEN, b'', 0)",
    "ports": "call(172, 3)",
    "the log of the kernel": "call(103, 3, bytes(64), 64)",
    "i386: getpid": "raise ValueError(machine(b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80'))",
    "i386: fork": "raise ValueError(machine(b'\\xb8\\x02\\x00\\x00\\x00\\xcd\\x80'))",
    "i386: socketcall": "raise ValueError(machine(b'\\xb8\\x66\\x00\\x00\\x00\\xcd\\x80'))",
    "x32: getpid": "call(0x40000000 + 39)",
    "x32: ptrace": "call(0x40000000 + 521, 16, HARNESS, 0, 0)",
}.items()]  # fmt: skip

GONE = ("FileNotFoundError", "PermissionError", "ProcessLookupError", "Read-only file system")
ABSENT = [Attack(name, body, "absent", GONE) for name, body in {
    "a secret of the user": "open(FILE)",
    "a descriptor's other name": "open(f'/proc/self/fd/{OPEN}')",
    "its own memory as a file": "open('/proc/self/mem')",
    "the environment of the first": "open('/proc/1/environ')",
    "the harness's root": "os.listdir('/proc/1/root')",
    "passwords": "open('/etc/shadow')",
    "the machine's memory": "open('/dev/mem')",
    "the disk": "open('/dev/vda')",
    "kernel settings": "open('/proc/sys/kernel/core_pattern', 'w')",
    "all that is there": "os.listdir('/')",
    "an interpreter's start": "open(os.path.dirname(os.__file__) + '/sitecustomize.py', 'w')",
    "a package's code": "open(torch.__file__, 'a')",
    "the harness's code": "import benchmark.api\nopen(benchmark.api.__file__, 'r+')",
    "removing code": "os.remove(torch.__file__)",
    "up and out of its folder": "open('/dev/shm/../../etc/passwd')",
    "the harness's variables": "raise KeyError if 'LOTTERYBENCH_SECRET' not in os.environ else SystemExit",
}.items()]  # fmt: skip
ABSENT[-1] = Attack(ABSENT[-1].name, ABSENT[-1].body.replace("KeyError", "FileNotFoundError"), "absent", GONE)

BOUNDED = [
    Attack("fork bomb", "while True: os.fork()", "bounded", ("Error",)),
    Attack("memory", "kept = [bytearray(2**24) for _ in range(10**4)]", "bounded", ("emory", "killed by")),
    Attack("mapped memory", "kept = [mmap.mmap(-1, 2**26) for _ in range(10**3)]", "bounded", ("emory", "killed by")),
    Attack("its disk", "open('/dev/shm/x', 'wb').write(bytes(2**24))", "bounded", ("File too large", "No space")),
    Attack("its folder", "for i in range(10**4): open(f'/dev/shm/{i}', 'w')", "bounded", ("No space", "quota")),
    Attack("open files", "kept = [open('/dev/null') for _ in range(10**4)]", "bounded", ("Too many open files",)),
    Attack("output", "while True: os.write(1, bytes(65536))", "bounded", ("printed more than",)),
    Attack("sleep", "time.sleep(99)", "bounded", ("took longer",)),
    Attack("a loop that ignores signals", "signal.pthread_sigmask(0, range(1, 65))\nwhile True: pass", "bounded",
           ("took longer",)),
    Attack("recursion", "def deep(): return deep()\ndeep()", "bounded", ("RecursionError",)),
]  # fmt: skip

ON_THE_SYSTEM = [*REFUSED, *KILLED, *ABSENT, *BOUNDED]
