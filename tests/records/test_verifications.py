"""Marks of verification: bound to every file, signed or not, and nothing once a file is another one."""

from __future__ import annotations

from pathlib import Path

import pytest
from ssh_keys import made_key
from submissions import facts

from benchmark import protocols
from benchmark.claims.observations import REPORTED, gathered
from benchmark.plugins.describe import submission_to
from benchmark.records import submissions
from benchmark.records.store import Store
from benchmark.records.submissions import VERIFICATION_FILE, Submission
from benchmark.records.verifications import (
    VERIFICATION_SCHEMA,
    VERIFIERS,
    Verification,
    VerifiedMark,
    digests_of,
    mark_of,
)
from benchmark.utils.errors import BadInput

LTH = protocols.load("lth/lenet-mnist")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture
def submission(store: Store) -> Submission:
    """A method that says what it is, with a file beside it that stands for its masks."""
    made = submission_to(LTH, facts())
    submissions.write(store, LTH, made)
    (store.folder(LTH, "mine") / "seed-0.masks.npz").write_bytes(b"masks")
    return made


def marked(store: Store, submission: Submission, key: Path | None = None) -> Path:
    """Its mark, written; the path."""
    folder = store.folder(LTH, "mine")
    mark = Verification(
        schema=VERIFICATION_SCHEMA, name="mine", protocol=submission.protocol, plugin_digest=submission.plugin_digest,
        by="Ada Lovelace", when="2026-11-21T00:00:00Z", cells=6, identical=6, fresh_cells=4, excludes="little",
        files=digests_of(folder), signature=None,
    )  # fmt: skip
    (folder / VERIFICATION_FILE).write_text((mark.signed(key) if key else mark).dumps())
    return folder / VERIFICATION_FILE


def standing(store: Store) -> str:
    """What a reading verb says of the row."""
    return gathered(LTH, [store]).marks["mine"]


def test_a_mark_speaks_of_its_submission(store: Store, submission: Submission) -> None:
    assert mark_of(store, LTH, submission) is None
    path = marked(store, submission)
    mark = mark_of(store, LTH, submission)
    assert isinstance(mark, VerifiedMark)
    assert mark.signing == "unsigned"
    assert standing(store) == "verified (Ada Lovelace, 2026-11-21T00:00:00Z, 6 cells, 4 at fresh seeds, unsigned)"
    path.write_text(mark.verification.model_copy(update={"plugin_digest": "1" * 64}).dumps())
    with pytest.raises(BadInput, match="about another method"):
        mark_of(store, LTH, submission)


@pytest.mark.parametrize("change", ["was changed", "is gone", "was added"])
def test_a_file_that_is_another_one_takes_the_mark_away(
    store: Store, submission: Submission, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = marked(store, submission)
    masks = path.with_name("seed-0.masks.npz")
    if change == "was changed":
        masks.write_bytes(b"other masks")
    elif change == "is gone":
        masks.unlink()
    else:
        masks = path.with_name("seed-1.masks.npz")
        masks.write_bytes(b"masks")
    with pytest.raises(BadInput, match=f"{masks.name} {change} since it was verified"):
        mark_of(store, LTH, submission)
    assert standing(store) == REPORTED
    assert f"{masks.name} {change}" in caplog.text


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A verifier's key."""
    return made_key(tmp_path, comment="ada@home")


def test_a_signature_is_of_the_text_and_of_a_known_key(store: Store, submission: Submission, key: Path) -> None:
    path, known = marked(store, submission, key), store.root / VERIFIERS
    assert standing(store).endswith("signed by an unknown key)")
    public = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    known.write_text(f"# who verifies\n{public} Ada Lovelace\n")
    assert standing(store).endswith("4 at fresh seeds, signed)")
    known.write_text(f"{public} Somebody Else\n")
    assert standing(store).endswith("signed by an unknown key)")
    path.write_text(path.read_text().replace('"cells": 6', '"cells": 60'))
    with pytest.raises(BadInput, match="its signature is not of this text by this key"):
        mark_of(store, LTH, submission)
    assert standing(store) == REPORTED
    known.write_text("a line of another kind\n")
    marked(store, submission, key)
    with pytest.raises(BadInput, match="VERIFIERS, line 1"):
        mark_of(store, LTH, submission)


def test_a_mark_of_the_earlier_form_is_none(store: Store, submission: Submission) -> None:
    """It was bound to nothing: whoever wrote it by hand was shown as verified."""
    path = marked(store, submission)
    path.write_text(path.read_text().replace("verification/2", "verification/1"))
    assert standing(store) == REPORTED
