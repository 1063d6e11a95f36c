"""Signatures: the vectors of RFC 8032, and what OpenSSH's own program makes and refuses."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from ssh_keys import made_key

from benchmark.utils import sshsig
from benchmark.utils.errors import BadInput

VECTORS = [  # RFC 8032, section 7.1, tests 1 to 3: public key, message, signature
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
]


@pytest.mark.parametrize(("key", "message", "signature"), VECTORS)
def test_the_vectors_of_the_rfc(key: str, message: str, signature: str) -> None:
    parts = bytes.fromhex(key), bytes.fromhex(message), bytes.fromhex(signature)
    assert sshsig._holds(*parts)
    for place in (0, 31, 32, 63):
        spoilt = bytearray(parts[2])
        spoilt[place] ^= 1
        with suppress(ValueError):  # no point of the curve
            assert not sshsig._holds(parts[0], parts[1], bytes(spoilt))
    assert not sshsig._holds(parts[0], parts[1] + b"x", parts[2])
    larger = int.from_bytes(parts[2][32:], "little") + sshsig._ORDER  # the same number, another spelling
    assert not sshsig._holds(parts[0], parts[1], parts[2][:32] + larger.to_bytes(32, "little"))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key made by OpenSSH."""
    return made_key(tmp_path)


def test_what_openssh_signs_is_read_and_nothing_else(key: Path) -> None:
    signature = sshsig.sign(b"a text\n", key, "space")
    public = key.with_suffix(".pub").read_text().strip()
    assert sshsig.signer_of(b"a text\n", signature, "space") == public
    for message, text, space in (
        (b"another text\n", signature, "space"),
        (b"a text\n", signature, "another"),
        (b"a text\n", signature.replace("\n", "", 1), "space"),
        (b"a text\n", signature[:60] + "A" + signature[61:], "space"),
        (b"a text\n", "", "space"),
    ):
        with pytest.raises(BadInput, match="signature"):
            sshsig.signer_of(message, text, space)


def test_other_keys_are_refused_when_they_sign(tmp_path: Path) -> None:
    other = made_key(tmp_path, "ecdsa")
    with pytest.raises(BadInput, match="not ssh-ed25519"):
        sshsig.sign(b"a text", other, "space")
    with pytest.raises(BadInput, match="ssh-keygen cannot sign"):
        sshsig.sign(b"a text", tmp_path / "nothing", "space")
