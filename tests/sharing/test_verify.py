"""submit and verify from the command line, and plugins that cheat: what re-running shows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from bundle_fixtures import PLUGIN, Document, Files, Made, forge, measure
from click.testing import CliRunner, Result

from benchmark import protocols
from benchmark.cli.main import cli
from benchmark.protocols import Protocol
from benchmark.records import submissions
from benchmark.records.store import Store
from benchmark.records.verifications import mark_of
from benchmark.report import leaderboard
from benchmark.sharing.bundle import rerun
from benchmark.utils.errors import BadInput, Conflict
from benchmark.utils.files import sha256
from benchmark.utils.npz import Array, pack, unpack_bytes

pytestmark = pytest.mark.usefixtures("answered_here")
METHOD = "tests/tiny@1/mine"


def invoke(*arguments: object) -> Result:
    """The command in this process."""
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def verified(bundle: Path, protocol_file: Path, *more: object) -> Document:
    """What `verify --json` prints."""
    result = invoke("verify", bundle, "--protocol", protocol_file, "--sample", 4, "--json", *more)
    assert result.exit_code in (0, 1), result.output
    document: Document = json.loads(result.output)
    assert document["verified"] == (result.exit_code == 0) == (not document["reasons"])
    return document


def test_from_results_to_a_verified_row(made: Made, tiny_path: Path, tmp_path: Path) -> None:
    """submit, verify, take over; the mark says who and how many; again, nothing changes."""
    bundle, target = tmp_path / "mine.zip", tmp_path / "board"
    sent = invoke("submit", made.plugin, tiny_path, "--results", made.store.root, "--to", bundle)
    assert sent.exit_code == 0, sent.output
    assert bundle.read_bytes() == made.bundle
    assert "4 cells, 0 failed" in sent.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.zip"]
    options = ("--protocol", tiny_path, "--sample", 2, "--results", target, "--by", "Ada")
    for _ in range(2):
        done = invoke("verify", bundle, *options)
        assert done.exit_code == 0, done.output
        assert "2 masks made again; 3 cells trained again, 3 identical bit for bit." in done.output
        assert "Every cell trained again is the same bit for bit." in done.output
        assert "cells at seeds drawn here differ from the bundle's means by" in done.output
        assert "2 dense networks are not taken over" in done.output
    protocol, store = made.part.protocol, Store(target)
    mark = mark_of(store, protocol, made.part.submission)
    assert mark is not None
    assert (mark.verification.by, mark.verification.cells, mark.signing) == ("Ada", 3, "unsigned")
    assert mark.verification.fresh_cells == 4
    names = {path.relative_to(target).as_posix() for path in target.rglob("*.json")}
    assert f"{METHOD}/submission.json" in names
    assert store.records(protocol) == [r for r in made.store.records(protocol) if r.method.name == "mine"]
    assert not list((target / ".work" / "unfinished").glob("*"))
    assert "verified (Ada" in leaderboard_text(protocols.load_file(tiny_path), store)
    record = sorted(store.folder(protocol, "mine").glob("level-*.json"))[0]
    record.write_bytes(record.read_bytes().replace(b'"train_steps"', b'"train_steps" '))
    assert "verified (Ada" not in leaderboard_text(protocols.load_file(tiny_path), store)


def test_what_differs_here_stays(made: Made, bundle: Path, tiny_path: Path, tmp_path: Path) -> None:
    target = Store(tmp_path / "board")
    first = measure(
        tmp_path / "other", protocols.load_file(tiny_path), PLUGIN.replace("alpha: float = 1.0", "alpha: float = 2.0")
    )
    (tmp_path / "other" / "results").rename(target.root)
    before = {path: path.read_bytes() for path in target.root.rglob("*.json")}
    done = invoke("verify", bundle, "--protocol", tiny_path, "--results", target.root)
    assert isinstance(done.exception, BadInput | Conflict), done.output
    assert {path: path.read_bytes() for path in target.root.rglob("*.json")} == before
    assert first.bundle != made.bundle


def _inflate(files: Files, points: float = 1.0) -> None:
    """An accuracy and its curves, raised together: nothing contradicts anything."""
    for name in [name for name in files if "/mine/level" in name and name.endswith(".json")]:
        curves_name = name.replace(".json", ".curves.npz")
        arrays = unpack_bytes(files[curves_name], 10**6)
        arrays["test_accuracy_percent"] = arrays["test_accuracy_percent"] + np.float32(points)
        files[curves_name] = pack(arrays)
        document = json.loads(files[name])
        accuracies = document["measured"]["metrics"]["test_accuracy"]
        raised = {key: value + points for key, value in accuracies.items() if key != "unit"}
        accuracies.update(raised)
        document["curves_sha256"] = sha256(files[curves_name])
        files[name] = (json.dumps(document, indent=1) + "\n").encode()


def _raise_means(document: Document, points: float = 1.0) -> None:
    for level in document["claims"][0]["accuracies"]:
        level["mean_percent"] += points


def test_an_invented_accuracy_is_found_by_training_again(bundle: Path, tiny_path: Path) -> None:
    forge(bundle, _inflate, _raise_means)
    found = verified(bundle, tiny_path)
    assert found["reasons"]
    assert all("test accuracy of 4 cells differs by -1.00 +- 0.00 points" in reason for reason in found["reasons"])


def _as_failed(record: Path) -> None:
    """A bad seed's record turned into one of a failure, as the harness would have written it."""
    document = json.loads(record.read_text())
    document |= {"status": "failed", "reason": "pruner 'mine': took longer than 60 s"}
    document |= {"mask": None, "measured": None, "cost": None, "curves_sha256": None}
    record.write_text(json.dumps(document, indent=1) + "\n")
    record.with_suffix(".curves.npz").unlink()


def test_a_seed_hidden_as_a_failure_is_tried_again(made: Made, tiny_path: Path, tmp_path: Path) -> None:
    results, bundle = tmp_path / "results", tmp_path / "mine.zip"
    shutil.copytree(made.store.root, results)
    _as_failed(next((results / METHOD).glob("level-*_seed-1.json")))
    sent = invoke("submit", made.plugin, tiny_path, "--results", results, "--to", bundle)
    assert "3 cells, 1 failed" in sent.output
    (reason,) = verified(bundle, tiny_path)["reasons"]
    assert "seed 1: failed in the bundle, and ends well here" in reason


def _elsewhere(files: Files) -> None:
    """The same records, said to be made on another processor."""
    for name in [name for name in files if "/level-" in name and name.endswith(".json")]:
        document = json.loads(files[name])
        document["provenance"]["device"] = "cpu: another"
        files[name] = (json.dumps(document, indent=1) + "\n").encode()


def test_what_a_bundle_says_of_its_machine_decides_nothing(bundle: Path, tiny_path: Path) -> None:
    """Raised by less than the margin, and said to be of another processor: a shift has no variance, rounding has."""
    forge(
        bundle,
        lambda files: (_inflate(files, 0.25), _elsewhere(files)),
        lambda manifest: _raise_means(manifest, 0.25),
    )
    found = verified(bundle, tiny_path)
    assert found["identical"] == 1  # the dense network was left alone
    assert found["reasons"]
    assert all("a shift, and rounding has no direction" in reason for reason in found["reasons"])


def _first_losses(files: Files, change: Callable[[Array], Array]) -> None:
    """Other losses before the first update, with the accuracies as they are."""
    for name in [name for name in files if "/mine/level" in name and name.endswith(".json")]:
        curves_name = name.replace(".json", ".curves.npz")
        arrays = unpack_bytes(files[curves_name], 10**6)
        arrays["test_loss"] = np.concatenate([change(arrays["test_loss"][:1]), arrays["test_loss"][1:]])
        files[curves_name] = pack(arrays)
        document = json.loads(files[name])
        document["curves_sha256"] = sha256(files[curves_name])
        files[name] = (json.dumps(document, indent=1) + "\n").encode()


def test_first_losses_of_another_training_are_refused_on_any_machine(bundle: Path, tiny_path: Path) -> None:
    """Accuracies agree exactly, and records name another machine: only the early trajectory tells."""
    forge(bundle, lambda files: (_first_losses(files, lambda loss: loss * np.float32(1.05)), _elsewhere(files)))
    found = verified(bundle, tiny_path)
    assert len(found["reasons"]) == 4
    assert all("another training: test_loss after 0 updates is" in reason for reason in found["reasons"])
    assert found["fresh_cells"] == 0  # nothing is trained at fresh seeds for what is refused already


def test_rounding_of_first_losses_is_not_refused(bundle: Path, tiny_path: Path) -> None:
    forge(bundle, lambda files: _first_losses(files, lambda loss: np.nextafter(loss, np.float32(9))))
    found = verified(bundle, tiny_path)
    assert found["verified"], found["reasons"]
    assert found["identical"] == found["cells"] - 4


def test_a_bundle_must_say_what_its_plugin_says(bundle: Path, tiny_path: Path) -> None:
    name = f"results/{METHOD}/submission.json"
    forge(bundle, lambda files: files.update({name: files[name].replace(b'"paper": ""', b'"paper": "Famous et al."')}))
    assert verified(bundle, tiny_path)["reasons"] == [
        "submission.json: paper is 'Famous et al.', the plugin makes it ''"
    ]


def test_a_plugin_with_a_mask_for_one_seed_is_refused(tiny_path: Path, tiny_protocol: Protocol, tmp_path: Path) -> None:
    """It knows seed 0 by its initial weights and turns its scores round: its masks are made again, and yet."""
    from benchmark.networks import build, initial_state
    from benchmark.utils.seeding import stream

    weights = initial_state(build(tiny_protocol), tiny_protocol.network, stream(0, "init"))["fc1.weight"]
    known = f"if network.weights['fc1.weight'][0, 0].item() == {float(weights[0, 0])!r}:\n"
    cheat = PLUGIN.replace("# HERE", known + "            scores = {n: -s for n, s in scores.items()}")
    made = measure(tmp_path, tiny_protocol, cheat)
    (tmp_path / "cheat.zip").write_bytes(made.bundle)
    (reason,) = verified(tmp_path / "cheat.zip", tiny_path)["reasons"]
    assert "mine seed 0" in reason
    assert "made for the weights of this seed" in reason


def test_a_plugin_that_reads_files_gets_none(tiny_protocol: Protocol, tmp_path: Path) -> None:
    """Its records say so, and there is nothing to submit."""
    (tmp_path / "secret").write_text("test labels")
    peeks = f"open({str(tmp_path / 'secret')!r}).read()"
    with pytest.raises(BadInput, match="every one of its cells failed"):
        measure(tmp_path, tiny_protocol, PLUGIN.replace("# HERE", peeks))
    store = Store(tmp_path / "results")
    records = [json.loads(path.read_text()) for path in store.root.glob(f"{METHOD}/level-*.json")]
    assert {record["status"] for record in records} == {"failed"}
    # Where plugins have a root of their own the file is not there at all.
    refusals = ("Permission denied", "No such file")
    assert all(any(words in record["reason"] for words in refusals) for record in records)


def test_a_plugin_edited_after_its_records_is_refused(made: Made, tiny_path: Path, tmp_path: Path) -> None:
    edited = tmp_path / "mine.py"
    edited.write_text(PLUGIN.replace("w.abs() **", "w.square() **"))
    result = invoke("submit", edited, tiny_path, "--results", made.store.root, "--to", tmp_path / "b.zip")
    assert isinstance(result.exception, BadInput)
    assert "its code changed after its records" in str(result.exception)
    assert not (tmp_path / "b.zip").exists()


def test_a_plugin_whose_masks_come_from_elsewhere_is_refused(bundle: Path, tiny_path: Path) -> None:
    """The code is exchanged everywhere, digests in records, submission and manifest too; the masks are another's."""
    from benchmark.plugins.registry import text_digest

    other = PLUGIN.replace("w.abs() **", "-w.abs() **")
    old, new = text_digest(PLUGIN), text_digest(other)

    def change(files: Files) -> None:
        for name in [name for name in files if name.endswith(".json")]:
            files[name] = files[name].replace(old.encode(), new.encode())
        files["plugin/mine.py"] = other.encode()

    forge(bundle, change, lambda manifest: manifest.update(plugin_digest=new))
    found = verified(bundle, tiny_path)
    assert sum("makes another mask than the bundle holds" in reason for reason in found["reasons"]) == 4


def leaderboard_text(protocol: Protocol, store: Store) -> str:
    """All pages of the board of one protocol."""
    return "\n".join(leaderboard.render(store, [submissions.with_submissions(store, protocol)]).values())


def test_nobody_knows_the_sample_before_the_bundle_is_made(
    bundle: Path, tiny_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a known number a forger tries bundles, by a word in environment.json, until no forged cell is looked at."""
    keys: list[tuple[str, int]] = []

    def measured(_claimed: object, _folder: Path, _sample: int, key: tuple[str, int], *_rest: object) -> rerun.Rerun:
        keys.append(key)
        return rerun.Rerun()

    monkeypatch.setattr(rerun, "measure_again", measured)
    said = [verified(bundle, tiny_path)["seed"] for _ in range(3)]
    assert [seed for _, seed in keys] == said
    assert len(set(said)) == 3
    assert verified(bundle, tiny_path, "--seed", said[0])["seed"] == said[0] == keys[-1][1]
    assert f"--seed {said[0]}." in invoke("verify", bundle, "--protocol", tiny_path, "--seed", said[0]).output
