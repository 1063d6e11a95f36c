"""Every loader on damaged files, for ten minutes in all, or LOTTERYBENCH_FUZZ_SECONDS, shared out evenly.

The damage is drawn by a seed that is new each time and is printed with the bytes that a loader did not survive. What
the loaders must do is what `tests/records/test_fuzz.py` says: a value, or one error of this project's, or of the wire.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from attack_archives import PLAIN
from record_documents import document_of
from safetensors.torch import save
from submissions import facts

from benchmark import protocols
from benchmark.claims import papers as published
from benchmark.plugins.describe import submission_to
from benchmark.plugins.sandbox.wire import Answer, BrokenAnswer, pack, read_reply, unpack
from benchmark.protocols import Protocol
from benchmark.records import schema as records
from benchmark.records import submissions
from benchmark.records.verifications import NAMESPACE, VERIFICATION_SCHEMA, Verification, known_keys
from benchmark.sharing.bundle.format import pack_files, read_files
from benchmark.training.checkpoint import load_weights
from benchmark.utils import npz, sshsig, strict_yaml
from benchmark.utils.errors import LotterybenchError

pytestmark = pytest.mark.long
SECONDS = float(os.environ.get("LOTTERYBENCH_FUZZ_SECONDS", "600"))
TINY = Path(__file__).parents[1] / "support" / "protocols" / "tiny.yaml"
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, (1 << 63) - 1, (1 << 64) - 1)
WORDS = (b'"', b"{", b"[", b"]", b"}", b":", b"\\u0000", b"&a", b"*a", b"<<: ", b"1e999", b"NaN", b"\xff", b"\xf0\x9f",
         b"9" * 400, b"[" * 200, b"\0", b"\n", b"PK\x01\x02", b"PK\x05\x06")  # fmt: skip


NAMES = ("protocol", "paper", "record", "submission", "mark", "keys", "signature", "curves", "comment", "weights",
         "bundle", "tensors of a plugin", "words of a plugin")  # fmt: skip
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJzMEs7rOygu72kw08Mp85Z+kocRN6KKtCkA5XA2L6s2"
SIGNATURE = """-----BEGIN SSH SIGNATURE-----
U1NIU0lHAAAAAQAAADMAAAALc3NoLWVkMjU1MTkAAAAgnMwSzus7KC7vaTDTwynzln6Shx
E3ooq0KQDlcDYvqzYAAAAZbG90dGVyeWJlbmNoLXZlcmlmaWNhdGlvbgAAAAAAAAAGc2hh
NTEyAAAAUwAAAAtzc2gtZWQyNTUxOQAAAEBbSbJjcvS9/qx68lgu7bQNE3H4rNDeeODBHB
JLkuCcVr6In68Y+V55KvDNZYpZabzgBVYLVIKQxZjUzhmvmIMC
-----END SSH SIGNATURE-----
"""  # of b"text" by KEY, whose private half was thrown away


@dataclass(frozen=True)
class Loader:
    """`whole`: a file that `read` takes as it is."""

    whole: bytes
    read: Callable[[bytes], object]


def loaders(protocol: Protocol, folder: Path) -> dict[str, Loader]:
    """Every loader of bytes that somebody else may have made."""
    scratch = folder / "file"

    def filed(read: Callable[[Path], object]) -> Callable[[bytes], object]:
        def through_a_file(content: bytes) -> object:
            scratch.write_bytes(content)
            return read(scratch)

        return through_a_file

    def yaml(parse: Callable[..., object]) -> Callable[[bytes], object]:
        return lambda c: parse(strict_yaml.load_text(c.decode("utf-8", errors="replace"), "f.yaml"), "f.yaml")

    def text(parse: Callable[[str, str], object]) -> Callable[[bytes], object]:
        return lambda c: parse(c.decode("utf-8", errors="surrogateescape"), "f.json")

    def signed(content: bytes) -> object:
        return sshsig.signer_of(b"text", content.decode("utf-8", errors="surrogateescape"), NAMESPACE)

    record = (json.dumps(document_of(protocol), indent=1) + "\n").encode()
    tensors = {"fc1.weight": torch.arange(12.0).reshape(3, 4), "mask.fc1": torch.ones(3, 4, dtype=torch.bool)}
    answer = Answer(forward_passes=1, backward_passes=2, examples_seen=3).model_dump_json().encode()
    paper = (published.folder() / "mnist1d.yaml").read_bytes()
    submission = submission_to(protocol, facts())
    mark = Verification(
        schema=VERIFICATION_SCHEMA, name="mine", protocol=submission.protocol, plugin_digest="0" * 64, by="Ada",
        when="2026-11-21T00:00:00Z", cells=6, identical=6, fresh_cells=4, excludes="little", files={"a": "1" * 64},
        signature=None,
    )  # fmt: skip
    return {
        "protocol": Loader(TINY.read_bytes(), yaml(protocols.parse)),
        "paper": Loader(paper, yaml(published.parse)),
        "record": Loader(record, text(records.parse)),
        "submission": Loader(submission.dumps().encode(), text(submissions.parse)),
        "mark": Loader(mark.dumps().encode(), text(partial(submissions.parsed, Verification))),
        "keys": Loader(f"# known\n{KEY} Ada Lovelace\n".encode(), filed(known_keys)),
        "signature": Loader(SIGNATURE.encode(), signed),
        "curves": Loader(npz.pack({"steps": np.arange(9, dtype=np.int32)}, "c" * 64), filed(npz.unpack)),
        "comment": Loader(npz.pack({"steps": np.arange(9, dtype=np.int32)}, "c" * 64), filed(npz.comment_of)),
        "weights": Loader(save(tensors), filed(load_weights)),
        "bundle": Loader(pack_files(PLAIN), filed(read_files)),
        "tensors of a plugin": Loader(pack(tensors), unpack),
        "words of a plugin": Loader(answer, read_reply),
    }


def damage(content: bytes, rng: random.Random) -> bytes:
    """The content with one to four injuries."""
    spoiled = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randint(0, len(spoiled)), rng.randint(1, 40)
        kind = rng.randrange(6)
        if kind == 0 and at < len(spoiled):
            spoiled[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del spoiled[at : at + length]
        elif kind == 2:
            spoiled[at:at] = spoiled[at : at + length] * rng.randint(1, 30)
        elif kind == 3:
            spoiled[at:at] = rng.choice(WORDS)
        elif kind == 4:
            size = rng.choice((1, 2, 4, 8))
            number = rng.choice(NUMBERS) & ((1 << 8 * size) - 1)
            spoiled[at : at + size] = number.to_bytes(size, rng.choice(("little", "big")))
        else:
            other = rng.randint(0, len(spoiled))
            spoiled[at : at + length] = spoiled[other : other + length]
    return bytes(spoiled)


@pytest.mark.parametrize("name", NAMES)
def test_a_loader_as_long_as_there_is_time(name: str, tiny_protocol: Protocol, tmp_path: Path) -> None:
    seed = random.SystemRandom().getrandbits(32)
    rng, known = random.Random(seed), loaders(tiny_protocol, tmp_path)
    assert tuple(known) == NAMES
    loader, ends = known[name], time.monotonic() + SECONDS / len(NAMES)
    loader.read(loader.whole)
    while True:
        content = damage(loader.whole, rng)
        try:
            loader.read(content)
        except (LotterybenchError, BrokenAnswer):
            pass
        except BaseException as error:
            raise AssertionError(f"seed {seed}: {name} did not survive {content!r}") from error
        if time.monotonic() >= ends:
            return
