"""Hostile and broken plugins: each ends as a BadPruner that says why, and the next mask is made as if nothing was."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import replace
from pathlib import Path

import pytest
from plugin_files import SMALL, mask_of, plugin

from benchmark.plugins.sandbox.confinement import MIB, describe
from benchmark.protocols import Protocol
from benchmark.utils.errors import BadPruner

LINUX = describe()
confined = pytest.mark.skipif(not (LINUX.landlock and LINUX.system_calls), reason="no Landlock or no filter here")
DATA = 3  # the channel to the harness


def failure(tmp_path: Path, protocol: Protocol, body: str, **limits: object) -> str:
    """The reason with which a plugin with these lines is refused; afterwards an honest one still works."""
    with pytest.raises(BadPruner) as caught:
        mask_of(plugin(tmp_path, body), protocol.pruning, replace(SMALL, **limits))  # type: ignore[arg-type]
    assert caught.value.thing == "pruner 'mine'"
    assert caught.value.fix
    assert len(str(caught.value)) < 3000
    masks, _ = mask_of(plugin(tmp_path, "pass"), protocol.pruning)
    assert sum(int(mask.sum()) for mask in masks.values()) == 100
    return caught.value.cause


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ("ctypes.string_at(0)", "was killed by SIGSEGV"),
        ("os.abort()", "was killed by SIG"),
        ("os._exit(3)", "ended its process without an answer (exit code 3)"),
        ("print('before', flush=True); os._exit(0)", "(exit code 0). It printed: 'before'"),
        ("sys.exit(4)", "raised SystemExit: 4"),
        ("raise SystemExit", "raised SystemExit"),
        ("raise KeyboardInterrupt", "raised KeyboardInterrupt"),
        ("raise BaseException('odd')", "raised BaseException: odd"),
        ("raise type('X', (Exception,), {'__str__': lambda s: 1 / 0})()", "raised"),
        ("raise ValueError('x' * 10**7)", "raised ValueError: xxx"),
        ("raise ValueError('\\x1b[2J\\nred')", "raised ValueError: [2J red"),
        ("input()", "raised EOFError"),
        ("sys.stdin.read(); raise ValueError(sys.stdin.closed)", "raised ValueError: False"),
        ("def deep(): return deep()\ndeep()", "raised RecursionError"),
        ("del scores['fc2.weight']", "no scores for 'fc2.weight'"),
        ("scores['fc9.weight'] = torch.ones(1)", "scores for unknown 'fc9.weight'"),
        ("scores['fc1.weight'] *= float('nan')", "NaN"),
        ("scores['fc1.weight'] = scores['fc1.weight'].T", "have shape (12, 16)"),
        ("scores['fc1.weight'] = torch.ones(()).expand(10**6, 10**6)", "have shape (1000000, 1000000)"),
        ("scores['fc1.weight'] = torch.ones((16, 12), dtype=torch.complex64)", "complex"),
        ("scores['fc1.weight'] = torch.empty((16, 12), device='meta')", "raised"),
        ("scores = [scores]", "returned list"),
        ("network.weights['fc1.weight'].zero_()", "changed weights in place"),
        ("network.module.fc1.weight.data.zero_()", "changed weights in place"),
    ],
)
def test_ends_as_a_reason(tmp_path: Path, tiny_protocol: Protocol, body: str, cause: str) -> None:
    assert cause in failure(tmp_path, tiny_protocol, body)


def test_killing_itself(tmp_path: Path, tiny_protocol: Protocol) -> None:
    """The first process of a process namespace cannot, so it may have to leave in another way."""
    cause = failure(tmp_path, tiny_protocol, "os.kill(os.getpid(), signal.SIGKILL)\nos._exit(9)")
    assert cause in ("was killed by SIGKILL", "ended its process without an answer (exit code 9)")


@pytest.mark.parametrize("body", ["time.sleep(60)", "while True: pass", "signal.pause()"])
def test_hanging_is_ended_by_the_clock(tmp_path: Path, tiny_protocol: Protocol, body: str) -> None:
    assert failure(tmp_path, tiny_protocol, body, seconds=0.5) == "took longer than 0.5 s"


def test_hanging_at_import(tmp_path: Path, tiny_protocol: Protocol) -> None:
    source = plugin(tmp_path, "pass")
    slow = replace(source, source=b"import time; time.sleep(60)\n" + source.source)
    with pytest.raises(BadPruner, match=r"took longer than 0\.5 s"):
        mask_of(slow, tiny_protocol.pruning, replace(SMALL, start_seconds=0.5))


def test_gigabytes_of_output_stop_the_plugin_and_reach_no_disk(tmp_path: Path, tiny_protocol: Protocol) -> None:
    before = os.statvfs(tmp_path).f_bavail
    cause = failure(tmp_path, tiny_protocol, "while True: os.write(1, b'x' * 65536)", seconds=10.0)
    assert cause.startswith("printed more than 65536 bytes. It printed: 'xxx")
    assert len(cause) < 600
    assert (before - os.statvfs(tmp_path).f_bavail) * os.statvfs(tmp_path).f_frsize < 500 * MIB


@pytest.mark.parametrize(
    "body",
    [
        "torch.ones(2**31)",
        "kept = [bytearray(2**24) for _ in range(10**4)]",
        "kept = torch.empty(10**12)",
        "import mmap\nkept = [mmap.mmap(-1, 2**26) for _ in range(10**3)]",
    ],
)
def test_memory_is_bounded(tmp_path: Path, tiny_protocol: Protocol, body: str) -> None:
    cause = failure(tmp_path, tiny_protocol, body)
    assert any(word in cause.lower() for word in ("memory", "alloc", "killed by"))


@pytest.mark.parametrize(
    ("body", "causes"),
    [
        (f"os.close({DATA}); time.sleep(60)", ("closed its channel", "took longer")),
        ("os.closerange(3, 100)", ("raised OSError", "ended its process", "closed its channel")),
        (f"os.write({DATA}, b'garbage' * 100); time.sleep(60)", ("announced",)),
        (f"os.write({DATA}, b'\\0' * 400); time.sleep(60)", ("no answer",)),
        (f"h = b'{{\"say\": \"answer\"}}'\nos.write({DATA}, len(h).to_bytes(4, 'big') + bytes(8) + h)", ("no answer",)),
        (f"os.write({DATA}, b'[' * 10 + bytes(12)); os.write({DATA}, b'[' * 10**5)", ("announced",)),
        (f"os.write({DATA}, (200000).to_bytes(4, 'big') + bytes(8) + b'[' * 200000)", ("no answer",)),
        (
            f'h = b\'{{"say":"answer","forward_passes":0,"backward_passes":-1,"examples_seen":0}}\'\n'
            f"os.write({DATA}, len(h).to_bytes(4, 'big') + bytes(8) + h)",
            ("no answer",),
        ),
        (
            f'h = b\'{{"say":"answer","forward_passes":0,"backward_passes":0,"examples_seen":0}}\'\n'
            f"os.write({DATA}, len(h).to_bytes(4, 'big') + (40).to_bytes(8, 'big') + h + b'\\xff' * 40)",
            ("tensors that cannot be read",),
        ),
        (
            "import struct\n"
            'j = b\'{"fc1.weight":{"dtype":"F64","shape":[1000000,1000000],"data_offsets":[0,8000000000000]}}\'\n'
            f'h = b\'{{"say":"answer","forward_passes":0,"backward_passes":0,"examples_seen":0}}\'\n'
            "p = struct.pack('<Q', len(j)) + j\n"
            f"os.write({DATA}, len(h).to_bytes(4, 'big') + len(p).to_bytes(8, 'big') + h + p)",
            ("tensors that cannot be read",),
        ),
        (f"while True: os.write({DATA}, b'\\0' * 4096)", ("no answer",)),
    ],
)
def test_nonsense_on_the_channel(tmp_path: Path, tiny_protocol: Protocol, body: str, causes: tuple[str, ...]) -> None:
    found = failure(tmp_path, tiny_protocol, body, seconds=3.0)
    assert any(cause in found for cause in causes), found


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        ("scores['fc1.weight'] = scores['fc1.weight'].to(torch.float8_e4m3fn)", "type torch.float8_e4m3fn"),
        ("scores['fc1.weight'] = scores['fc1.weight'].to(torch.uint16)", "type torch.uint16"),
        ("scores['fc1.weight'] = scores['fc1.weight'].to(torch.complex64)", "type torch.complex64"),
        ("scores['fc1.weight'][0, 0] = float('nan')", "NaN"),
        ("scores['fc1.weight'] = torch.ones(3)", "have shape (3,)"),
        ("scores['fc1.weight'] = torch.ones(1, 0)", "have shape (1, 0)"),
        ("scores = {'fc1.weight': scores['fc1.weight']}", "no scores for 'fc2.weight'"),
        ("scores['\\x1b[2J' * 50] = torch.ones(1)", "scores for unknown"),
        ("scores = {}", "no scores for"),
        ("scores['x'] = torch.ones(10**6)", "announced"),
    ],
)
def test_checks_are_the_harness_s_own(tmp_path: Path, tiny_protocol: Protocol, change: str, cause: str) -> None:
    """A plugin that answers in the place of its process, unchecked, gains nothing."""
    answer = (
        "import benchmark.plugins.sandbox.wire as w\n"
        "cost = w.Answer(forward_passes=0, backward_passes=0, examples_seen=0)\n"
        f"w.send(socket.socket(fileno={DATA}), cost, w.pack(scores)); time.sleep(60)"
    )
    found = failure(tmp_path, tiny_protocol, f"{change}\n{answer}")
    assert cause in found, found
    assert found.isprintable()


def test_an_answer_that_never_ends(tmp_path: Path, tiny_protocol: Protocol) -> None:
    """A byte now and then keeps no deadline away."""
    body = f"os.write({DATA}, (100).to_bytes(4, 'big') + bytes(8))\nwhile True: os.write({DATA}, b' '); time.sleep(.05)"
    assert failure(tmp_path, tiny_protocol, body, seconds=1.0) == "took longer than 1 s"


@confined
@pytest.mark.parametrize(
    "body",
    [
        "os.fork()",
        "while True: os.fork()",
        "subprocess.run(['/bin/true'])",
        "os.execv('/bin/true', ['true'])",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "import multiprocessing as m\nm.get_context('fork').Process(target=print).start()",
        "threading.Thread(target=print).start()",
        "socket.socket()",
        "socket.socket(socket.AF_UNIX)",
        "socket.create_connection(('127.0.0.1', 22))",
        "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)[0].connect('/dev/log')",
        "os.memfd_create('x')",
        "os.listdir('/')",
        "os.listdir(HOME)",
        "open('/etc/passwd')",
        "open('/proc/self/environ')",
        "open(f'/proc/{os.getpid()}/mem')",
        "os.listdir('/proc')",
        "open('/proc/1/cmdline')",
        "open(FILE)",
        "open(FILE, 'w')",
        "os.remove(FILE)",
        "os.rename(FILE, FILE + 'x')",
        "os.chmod(FILE, 0)",
        "os.utime(FILE)",
        "os.truncate(FILE, 0)",
        "os.symlink('x', os.path.dirname(FILE) + '/y')",
        "os.mkdir(os.path.dirname(FILE) + '/y')",
        "open('/tmp/lotterybench-was-here', 'w')",
        "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (10, 10))",
        "os.kill(HARNESS, 0)",
        "os.kill(-1, 9)",
        "signal.pidfd_send_signal(os.pidfd_open(HARNESS), 0)",
        "os.nice(-5); os.setpriority(os.PRIO_PROCESS, 0, 0)",
    ],
)
def test_what_is_out_of_reach(tmp_path: Path, tiny_protocol: Protocol, body: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text("kept")
    text = f"FILE, HOME, HARNESS = {str(secret)!r}, {str(Path.home())!r}, {os.getpid()}\n{body}"
    cause = failure(tmp_path, tiny_protocol, text)
    assert cause.startswith("raised "), cause
    refusals = ("PermissionError", "can't start new thread", "not permitted", "not allowed", "FileNotFoundError")
    assert any(word in cause for word in refusals), cause
    assert secret.read_text() == "kept"
    assert not Path("/tmp/lotterybench-was-here").exists()


@confined
@pytest.mark.parametrize(
    "call",
    [
        "ptrace(16, HARNESS, 0, 0)",  # PTRACE_ATTACH
        "kill(HARNESS, 0)",
        "unshare(0x10000000)",
        "mount(b'none', b'/dev/shm', b'tmpfs', 0, None)",
        "prctl(1, 0, 0, 0, 0)",  # to outlive its guard
        "fcntl(3, 8, HARNESS)",  # F_SETOWN: who gets SIGIO
        "ioctl(3, 0x8901, HARNESS)",
        "syscall(425, 1, None)",  # io_uring_setup
        "syscall(321, 0, None, 0)",  # bpf
    ],
)
def test_system_calls_are_refused(tmp_path: Path, tiny_protocol: Protocol, call: str) -> None:
    body = f"HARNESS = {os.getpid()}\nraise ValueError(ctypes.CDLL(None).{call})"
    found = failure(tmp_path, tiny_protocol, body)
    assert "raised ValueError: -1" in found or "killed by SIGSYS" in found, found


@pytest.mark.skipif(not LINUX.scratch, reason="no namespaces here: a plugin may write nowhere at all")
def test_its_folder_is_small_private_and_gone(tmp_path: Path, tiny_protocol: Protocol) -> None:
    """A megabyte may be written, not two; nobody else sees it, and the next mask finds it empty."""
    write = "open(os.environ['TMPDIR'] + '/lotterybench-x', 'wb').write(b'x' * 10**6)"
    look = "assert os.listdir(os.environ['TMPDIR']) == []"
    for _ in range(2):
        mask_of(plugin(tmp_path, f"{look}\n{write}"), tiny_protocol.pruning)
    assert not os.path.exists("/dev/shm/lotterybench-x")  # False, too, where this user may not look
    two = "\n".join(f"open(f'/dev/shm/{{{number}}}', 'wb').write(b'x' * 10**6)" for number in range(2))
    assert "No space left" in failure(tmp_path, tiny_protocol, two)
    assert "File too large" in failure(tmp_path, tiny_protocol, write, file_bytes=1000)
    assert "raised OSError" in failure(
        tmp_path, tiny_protocol, "for i in range(10**4): open(f'/dev/shm/{i}', 'w')", folder_bytes=64 * MIB
    )
    assert "Too many open files" in failure(tmp_path, tiny_protocol, "kept = [open('/dev/zero') for _ in range(300)]")


def test_no_secrets_no_files_no_past(tmp_path: Path, tiny_protocol: Protocol, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment is not the harness's, stdin is empty, and only the channel is open besides."""
    monkeypatch.setenv("LOTTERYBENCH_SECRET", "token")
    body = (
        "assert 'LOTTERYBENCH_SECRET' not in os.environ and 'HF_TOKEN' not in os.environ\n"
        "assert sys.stdin.read() == ''\n"
        "open(os.devnull, 'w').write('x')\n"
        "for number in range(4, 64):\n"
        "    try: os.fstat(number)\n"
        "    except OSError: continue\n"
        "    raise ValueError(number)"
    )
    mask_of(plugin(tmp_path, body), tiny_protocol.pruning)


def test_nothing_survives_a_session(tmp_path: Path, tiny_protocol: Protocol) -> None:
    """A child that leaves its group and closes its pipes, where one can be made at all, is gone soon after."""
    mark = f"lotterybench-{os.getpid()}-{time.monotonic_ns()}"
    body = (
        "try:\n"
        "    if os.fork() == 0:\n"
        "        os.setsid(); os.closerange(0, 100)\n"
        f"        ctypes.CDLL(None).prctl(15, b'{mark[-15:]}', 0, 0, 0)\n"
        "        time.sleep(60)\n"
        "except OSError: pass"
    )
    mask_of(plugin(tmp_path, body), tiny_protocol.pruning)
    deadline = time.monotonic() + 10
    while any(name == mark[-15:] for name in _names()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert mark[-15:] not in _names()


def _names() -> list[str]:
    names = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            names.append(path.read_text().strip())
        except OSError:
            continue
    return names


@confined
@pytest.mark.parametrize(
    "body",
    [
        "import fcntl\nfcntl.flock(OPEN, fcntl.LOCK_SH)",  # bits between masks
        "import fcntl\nfcntl.fcntl(OPEN, fcntl.F_SETLEASE, fcntl.F_RDLCK)",  # stalls who writes there
        "import fcntl\nfcntl.ioctl(OPEN, 0x40087602, bytes(8))",  # FS_IOC_SETVERSION: stays in the file system
        "os.posix_fadvise(OPEN, 0, 0, os.POSIX_FADV_DONTNEED)",  # bits in the page cache
        "os.fsync(OPEN)",
    ],
)
def test_nothing_is_left_in_files_that_may_be_read(tmp_path: Path, tiny_protocol: Protocol, body: str) -> None:
    cause = failure(tmp_path, tiny_protocol, f"OPEN = os.open(torch.__file__, os.O_RDONLY)\n{body}")
    assert cause.startswith("raised PermissionError"), cause


@confined
@pytest.mark.parametrize(
    "code",
    [
        "b'\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3'",  # mov eax, 20 (getpid of i386); int 0x80; ret
        "b'\\xb8\\x27\\x00\\x00\\x40\\x0f\\x05\\xc3'",  # mov eax, 0x40000000 + 39 (getpid of x32); syscall; ret
    ],
)
def test_system_calls_of_other_architectures_end_it(tmp_path: Path, tiny_protocol: Protocol, code: str) -> None:
    if platform.machine() != "x86_64":
        pytest.skip("machine code of x86_64")
    body = (
        f"import mmap\npage = mmap.mmap(-1, 4096, prot=7)\npage.write({code})\n"
        "ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()"
    )
    assert "killed by SIG" in failure(tmp_path, tiny_protocol, body)


@pytest.mark.parametrize(
    "said",
    [
        b'{"say":"loaded","kind":"scores","needs":"nothing","protections":{"x":true}}',
        b'{"say":"loaded","kind":"scores","needs":"training set"}',
        b'{"say":"confined","protections":{}}',
        b"[" * 200_000,
        b"\xff" * 100,
    ],
)
def test_a_false_loaded_is_a_reason(tmp_path: Path, tiny_protocol: Protocol, said: bytes) -> None:
    """A plugin may speak for its process as soon as it is imported: whatever it says ends as a reason."""
    frame = "len(said).to_bytes(4, 'big') + bytes(8) + said"
    head = f"import os, time\nsaid = {said!r}\nos.write(3, {frame})\ntime.sleep(60)\n"
    source = plugin(tmp_path, "pass")
    with pytest.raises(BadPruner, match="no answer"):
        mask_of(replace(source, source=head.encode() + source.source), tiny_protocol.pruning, SMALL)
