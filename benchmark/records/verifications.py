"""Marks of verification: somebody measured cells of an added method again. Read by every verb that shows a row.

<root>/<protocol>@<version>/<method>/verification.json    the mark
<root>/VERIFIERS                                          whose keys are known: `ssh-ed25519 AAAA... Name`, one a line

A mark is bound to what was verified: it names the sha256 of every other file of the method's folder, and none may be
missing, changed or added. It may be signed by its verifier (`ssh-keygen -Y sign`); else it says *unsigned*, and then
whoever can write to the folder can have written it. A mark that does not hold is no mark: the row is `reported`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from benchmark.protocols import Protocol
from benchmark.records.schema import ProtocolRef
from benchmark.records.store import Store
from benchmark.records.submissions import VERIFICATION_FILE, Document, Submission, parsed
from benchmark.utils import sshsig
from benchmark.utils.errors import BadInput
from benchmark.utils.files import KIB, MASKS_BYTES, read_limited, read_text_limited, sha256

VERIFICATION_SCHEMA: Literal["lotterybench/verification/2"] = "lotterybench/verification/2"
NAMESPACE = "lotterybench-verification"
VERIFIERS = "VERIFIERS"
MARK_BYTES = 4 * 1024 * KIB
AGAIN = "Verify the bundle again, or move the mark away"

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Verification(Document):
    """What somebody measured again, of which files, and found equivalent. `when`: UTC, ISO 8601.

    `cells`, `identical`: trained again, and of these the same bit for bit. `fresh_cells`: of the method, trained at
    seeds that its author could not have seen. `excludes`: what a forger could still have done, in numbers of this
    verification. `files`: sha256 of each file of the method's folder but the mark, by name.
    """

    schema_: Literal["lotterybench/verification/2"] = Field(alias="schema")
    name: str
    protocol: ProtocolRef
    plugin_digest: Digest
    by: str = Field(min_length=1, max_length=200)
    when: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
    cells: int = Field(gt=0)
    identical: int = Field(ge=0)
    fresh_cells: int = Field(ge=0)
    excludes: str
    files: dict[str, Digest] = Field(min_length=1)
    signature: str | None = Field(description="of the same text with null in its place; lines parted by |")

    def signed_text(self) -> bytes:
        """What the signature is of."""
        return self.model_copy(update={"signature": None}).dumps().encode()

    def signed(self, key: Path) -> Verification:
        """The same, signed. Raises EnvironmentProblem or BadInput if it cannot be."""
        signature = sshsig.sign(self.signed_text(), key, NAMESPACE)
        return self.model_copy(update={"signature": "|".join(signature.strip().splitlines())})


@dataclass(frozen=True)
class VerifiedMark:
    """A mark that holds. `signing`: `unsigned`, `signed`, or `signed by an unknown key`."""

    verification: Verification
    signing: str


def digests_of(folder: Path) -> dict[str, str]:
    """sha256 of every file of a method's folder but its mark, by name. Raises BadInput if one cannot be read."""
    paths = sorted(path for path in folder.glob("*") if path.name != VERIFICATION_FILE)
    return {path.name: sha256(read_limited(path, MASKS_BYTES)) for path in paths}


def mark_of(store: Store, protocol: Protocol, submission: Submission) -> VerifiedMark | None:
    """The mark of whoever measured this very submission again; None if nobody did.

    Raises BadInput if there is one that does not hold: of another method or source, of other files than those that are
    there, or with a signature that is wrong.
    """
    folder = store.folder(protocol, submission.name)
    path = folder / VERIFICATION_FILE
    if not path.exists():
        return None
    mark = parsed(Verification, read_text_limited(path, MARK_BYTES), str(path))
    same = (mark.name, mark.protocol, mark.plugin_digest)
    if same != (submission.name, submission.protocol, submission.plugin_digest):
        raise BadInput(str(path), "is about another method, protocol or source", AGAIN)
    there = digests_of(folder)
    for name in sorted(there.keys() | mark.files.keys()):
        if there.get(name) != mark.files.get(name):
            change = "is gone" if name not in there else "was changed" if name in mark.files else "was added"
            raise BadInput(str(path), f"does not hold: {name} {change} since it was verified", AGAIN)
    return VerifiedMark(mark, _signing(mark, path, store.root / VERIFIERS))


def _signing(mark: Verification, path: Path, verifiers: Path) -> str:
    if mark.signature is None:
        return "unsigned"
    try:
        key = sshsig.signer_of(mark.signed_text(), mark.signature.replace("|", "\n"), NAMESPACE)
    except BadInput as error:
        raise BadInput(str(path), f"its signature {error.cause}", AGAIN) from error
    return "signed" if known_keys(verifiers).get(key) == mark.by else "signed by an unknown key"


def known_keys(path: Path) -> dict[str, str]:
    """Names by public key, of the file VERIFIERS; none if there is no such file. Raises BadInput for another line."""
    if not path.exists():
        return {}
    found = {}
    for number, line in enumerate(read_text_limited(path, 64 * KIB).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.split(None, 2)
        if len(parts) != 3 or parts[0] != sshsig.KIND.decode():
            raise BadInput(f"{path}, line {number}", "is not `ssh-ed25519 KEY NAME`", "Correct the line")
        found[f"{parts[0]} {parts[1]}"] = parts[2].strip()
    return found
