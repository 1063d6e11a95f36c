"""Signatures that `ssh-keygen -Y sign` makes, checked here without it, so that every machine says the same of a file.

Signing needs the key, or the agent that holds it, and is ssh-keygen's. Checking is arithmetic: the format is OpenSSH's
PROTOCOL.sshsig, the equation that of RFC 8032, section 5.1.7: S B = R + k A on the curve Ed25519. Nothing here is
secret, so nothing has to take the same time for every input. Keys of other kinds than ssh-ed25519 are refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import shutil
import struct
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmark.utils.errors import BadInput, EnvironmentProblem

KIND = b"ssh-ed25519"
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_MAGIC = b"SSHSIG"

Point = tuple[int, int, int, int]  # extended coordinates: x = X/Z, y = Y/Z, x y = T/Z
_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ZERO: Point = (0, 1, 1, 0)


def sign(message: bytes, key: Path, namespace: str) -> str:
    """The armoured signature of a message by ssh-keygen.

    `key`: a private key, or the public one of a key that the agent holds. Raises EnvironmentProblem if there is no
    ssh-keygen, BadInput if it cannot sign with this key, with what it says.
    """
    program = shutil.which("ssh-keygen")
    if program is None:
        raise EnvironmentProblem("ssh-keygen", "is not installed", "Install OpenSSH, or leave out --key")
    with TemporaryDirectory() as folder:
        text = Path(folder) / "message"
        text.write_bytes(message)
        arguments = [program, "-Y", "sign", "-f", str(key), "-n", namespace, str(text)]
        done = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BadInput(
                f"--key {key}", f"ssh-keygen cannot sign with it ({done.stderr.strip()})", "Give another key"
            )
        signature = text.with_suffix(".sig").read_text()
    signer_of(message, signature, namespace)  # of a kind that can be checked here
    return signature


def signer_of(message: bytes, signature: str, namespace: str) -> str:
    """The public key, as `ssh-ed25519 AAAA...`, by which a message was signed. Raises BadInput if it was not."""
    try:
        key, signed, value = _parts(signature, namespace.encode(), message)
        sound = _holds(key, signed, value)
    except (ValueError, struct.error, binascii.Error) as error:
        raise BadInput("signature", f"cannot be read ({error})", "Sign again with an ssh-ed25519 key") from error
    if not sound:
        raise BadInput("signature", "is not of this text by this key", "Sign again")
    return f"{KIND.decode()} {base64.b64encode(_string(KIND) + _string(key)).decode()}"


def _string(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def _strings(content: bytes) -> list[bytes]:
    """The strings, each behind its length, that make up bytes. Raises ValueError."""
    found = []
    while content:
        (length,) = struct.unpack_from(">I", content)
        if len(content) < 4 + length:
            raise ValueError("it ends early")
        found.append(content[4 : 4 + length])
        content = content[4 + length :]
    return found


def _parts(signature: str, namespace: bytes, message: bytes) -> tuple[bytes, bytes, bytes]:
    """(public key, the bytes that were signed, signature's 64 bytes). Raises ValueError."""
    lines = signature.strip().splitlines()
    if len(lines) < 3 or (lines[0], lines[-1]) != (_BEGIN, _END):
        raise ValueError("no SSH signature")
    content = base64.b64decode("".join(lines[1:-1]), validate=True)
    if content[:10] != _MAGIC + struct.pack(">I", 1):
        raise ValueError("no SSH signature of version 1")
    blob, space, reserved, method, value = _strings(content[10:])
    named, signed = _strings(blob), _strings(value)
    if named[:1] != [KIND] or [len(part) for part in (*named[1:], *signed)] != [32, len(KIND), 64]:
        raise ValueError("its key is not ssh-ed25519")
    if space != namespace:
        raise ValueError(f"it was made for '{space.decode(errors='replace')}'")
    if method not in (b"sha256", b"sha512"):
        raise ValueError("it hashes by neither sha256 nor sha512")
    digest = hashlib.new(method.decode(), message).digest()
    return named[1], _MAGIC + b"".join(map(_string, (space, reserved, method, digest))), signed[1]


def _holds(key: bytes, signed: bytes, signature: bytes) -> bool:
    """RFC 8032, 5.1.7, without the cofactor. Raises ValueError for what is no point of the curve."""
    nonce, scalar = _point(signature[:32]), int.from_bytes(signature[32:], "little")
    if scalar >= _ORDER:
        return False
    challenge = int.from_bytes(hashlib.sha512(signature[:32] + key + signed).digest(), "little") % _ORDER
    return _same(_times(scalar, _BASE), _plus(nonce, _times(challenge, _point(key))))


def _plus(a: Point, b: Point) -> Point:
    """RFC 8032, 5.1.4."""
    e, f = (a[1] - a[0]) * (b[1] - b[0]) % _P, (a[1] + a[0]) * (b[1] + b[0]) % _P
    c, d = 2 * a[3] * b[3] * _D % _P, 2 * a[2] * b[2] % _P
    x, y, z, t = f - e, f + e, d + c, d - c
    return (x * t % _P, z * y % _P, t * z % _P, x * y % _P)


def _times(scalar: int, point: Point) -> Point:
    found = _ZERO
    while scalar:
        if scalar & 1:
            found = _plus(found, point)
        point, scalar = _plus(point, point), scalar >> 1
    return found


def _same(a: Point, b: Point) -> bool:
    return (a[0] * b[2] - b[0] * a[2]) % _P == 0 == (a[1] * b[2] - b[1] * a[2]) % _P


def _point(content: bytes) -> Point:
    """RFC 8032, 5.1.3. Raises ValueError if the bytes name no point."""
    y = int.from_bytes(content, "little")
    odd, y = y >> 255, y & (1 << 255) - 1
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * pow(2, (_P - 1) // 4, _P) % _P
    if y >= _P or (x * x - square) % _P or (x == 0 and odd):
        raise ValueError("no point of the curve")
    return (x, y, 1, x * y % _P) if x & 1 == odd else (_P - x, y, 1, (_P - x) * y % _P)


_BASE = _point((4 * pow(5, -1, _P) % _P).to_bytes(32, "little"))
