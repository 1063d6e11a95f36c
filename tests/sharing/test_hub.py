"""push and pull with the official client against a Hub on this machine: what arrives, and what is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hub_fixtures import NAME, Selection, contents, got, no_leftovers, quiet, remote_contents, sent
from hub_server import Fault, Hub, is_large

from benchmark.protocols import Protocol
from benchmark.protocols.cells import cells_of, method_names
from benchmark.records.store import Store
from benchmark.sharing.hub import push as pushing
from benchmark.sharing.hub.pull import Pulled, pull
from benchmark.sharing.hub.push import Pushed
from benchmark.sharing.hub.remote import Remote
from benchmark.utils.errors import BadInput, Conflict, EnvironmentProblem


def test_there_and_back(hub: Hub, results: Path, selection: Selection, tmp_path: Path) -> None:
    """What arrives is what was sent, byte for byte; again, nothing is sent or taken over."""
    first = sent(hub, results, selection)
    assert remote_contents(hub) == contents(results)
    assert first.sent == len(contents(results))
    assert sent(hub, results, selection) == Pushed(first.commit, 0, first.sent, 0)
    there = got(hub, tmp_path / "copy", selection)
    assert contents(tmp_path / "copy") == contents(results)
    assert no_leftovers(tmp_path / "copy")
    assert there == Pulled(first.commit, first.sent, 0, (".gitattributes", "README.md"))
    before = len(hub.log)
    assert got(hub, tmp_path / "copy", selection, first.commit).here == first.sent
    assert len(hub.log) == before  # a commit that was listed before needs no request
    store = Store(tmp_path / "copy")
    assert len(store.records(selection[0][0])) == len(Store(results).records(selection[0][0]))


def test_a_pull_is_noted_with_its_commit(hub: Hub, results: Path, selection: Selection, tmp_path: Path) -> None:
    commit = sent(hub, results, selection).commit
    for _ in range(2):
        got(hub, tmp_path / "copy", selection)
    (note,) = json.loads((tmp_path / "copy" / "pulled.json").read_text())["pulled"]
    assert (note["repository"], note["endpoint"], note["revision"]) == (NAME, hub.url, commit)
    assert note["asked_for"] == "main"


def test_a_commit_stays_what_it_was(hub: Hub, results: Path, selection: Selection, tmp_path: Path) -> None:
    """A pinned pull gives the files of then; the branch gives those of now."""
    first = [pair for pair in selection if pair[1] == "dense"]
    commit = sent(hub, results, first).commit
    sent(hub, results, selection)
    assert got(hub, tmp_path / "old", selection, commit).commit == commit
    assert {name.split("/")[2] for name in contents(tmp_path / "old")} == {"dense"}
    assert got(hub, tmp_path / "new", selection).commit != commit
    assert contents(tmp_path / "new") == contents(results)
    with pytest.raises(BadInput, match="no such revision"):
        got(hub, tmp_path / "none", selection, "0" * 40)


def test_one_commit_a_batch_and_records_never_without_curves(
    hub: Hub, results: Path, selection: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushing, "BATCH_FILES", 7)
    done = sent(hub, results, selection)
    commits = hub.repositories[NAME].commits
    assert done.commits == len(commits) - 1
    for (_, before), (_, after) in pairwise(commits):
        assert len(after) - len(before) <= 7
        paths = set(after)
        for path in paths:
            if path.endswith(".json"):
                assert json.loads(after[path])["curves_sha256"] is None or path[:-5] + ".curves.npz" in paths
    monkeypatch.setattr(pushing, "BATCH_BYTES", 1)
    hub.repositories.clear()
    sent(hub, results, [pair for pair in selection if pair[1] in ("dense", "snip")])
    assert max(len(after) - len(before) for (_, before), (_, after) in pairwise(hub.repositories[NAME].commits)) == 2


def test_the_card_says_what_is_there(hub: Hub, results: Path, selection: Selection) -> None:
    """Valid front matter, counts of this protocol, and the same text from the same files."""
    sent(hub, results, selection)
    text = hub.repositories[NAME].files["README.md"].decode()
    front = yaml.safe_load(text.split("---\n")[1])
    assert "lotterybench" in front["tags"]
    protocol = selection[0][0]
    records = len(list((results / protocol.key).glob("*/*.json")))
    chains = len(list((results / protocol.key).glob("*/*.masks.npz")))
    planned = sum(len(cells_of(protocol, method)) for method in method_names(protocol))
    assert f"| {protocol.key} | {records} | {planned} | 0 | {chains} |" in text
    assert f"lotterybench pull {NAME}" in text
    assert "not measured" in text  # the package's own claims, for which nothing is here


def test_others_records_are_counted_on_the_card(hub: Hub, results: Path, selection: Selection, tmp_path: Path) -> None:
    """Two people with one method each: the second card counts both, and junk of a third is not counted."""
    protocol = selection[0][0]
    mine, theirs = ([pair for pair in selection if pair[1] == name] for name in ("dense", "snip"))
    sent(hub, results, mine)
    junk = f"{protocol.key}/random/level-03_seed-0.json"
    hub.repositories[NAME].add({junk: b'{"schema": "lotterybench/record/1"}'})
    other = tmp_path / "other"
    shutil.copytree(results / protocol.key / "snip", other / protocol.key / "snip")
    sent(hub, other, theirs)
    assert f"| {protocol.key} | 4 |" in hub.repositories[NAME].files["README.md"].decode()


def race(writers: list[Callable[[], Any]]) -> list[Any]:
    """Run at once; the results, or what was raised."""
    results: list[Any] = [None] * len(writers)

    def work(number: int) -> None:
        try:
            results[number] = writers[number]()
        except Exception as error:
            results[number] = error

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(writers))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_writers_at_once_end_with_everything(
    hub: Hub, results: Path, selection: Selection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three pushers of overlapping parts, small batches: all records there, nobody gave up, conflicts did happen."""
    monkeypatch.setattr(pushing, "BATCH_FILES", 6)
    names = sorted({method for _, method in selection})
    parts = [names[::2], names[1::2], names[2:5]]
    chosen = [[pair for pair in selection if pair[1] in part] for part in parts]
    done = race([lambda part=part: sent(hub, results, part) for part in chosen])  # type: ignore[misc]
    assert all(isinstance(one, Pushed) for one in done), done
    assert remote_contents(hub) == contents(results)
    sent(hub, results, selection)
    got(hub, tmp_path / "copy", selection)
    assert contents(tmp_path / "copy") == contents(results)


def test_outrun_by_a_writer_of_the_same_files(hub: Hub, results: Path, selection: Selection) -> None:
    """Between our look and our commit somebody commits half of it: 412, a new look, and only the rest is sent."""
    everything = contents(results)
    half = dict(sorted(everything.items())[::2])
    hub.faults.append(Fault("POST", "/commit/", lambda: hub.repositories[NAME].add(half) and None))
    done = sent(hub, results, selection)
    assert remote_contents(hub) == everything
    assert done.sent == len(everything) - len(half)
    assert len(hub.requests("POST .*/commit/")) == 3  # refused, the rest, the card


def test_what_differs_there_is_never_replaced(hub: Hub, results: Path, selection: Selection) -> None:
    """A record of somebody else's run of the same cell: named, exit code 1, and nothing at all was sent."""
    protocol = selection[0][0]
    path = f"{protocol.key}/dense/level-00_seed-0.json"
    other = contents(results)[path].replace(b'"threads": 1', b'"threads": 2')
    sent(hub, results, [pair for pair in selection if pair[1] == "snip"])
    hub.repositories[NAME].add({path: other})
    before = hub.repositories[NAME].commits[:]
    with pytest.raises(Conflict, match=r"level-00_seed-0\.json") as caught:
        sent(hub, results, selection)
    assert caught.value.exit_code == 1
    assert hub.repositories[NAME].commits == before


def test_what_differs_here_is_never_replaced(hub: Hub, results: Path, selection: Selection, tmp_path: Path) -> None:
    protocol = selection[0][0]
    sent(hub, results, selection)
    copy = tmp_path / "copy"
    path = copy / protocol.key / "dense" / "level-00_seed-0.json"
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(Conflict, match=r"level-00_seed-0\.json"):
        got(hub, copy, selection)
    assert contents(copy) == {str(path.relative_to(copy)): b"mine"}
    assert no_leftovers(copy)


def test_longer_chains_replace_shorter_ones_and_never_the_other_way(
    hub: Hub, results: Path, selection: Selection, tmp_path: Path
) -> None:
    """Masks of a chain grow while it runs; both directions keep the longer file, and another chain is a conflict."""
    protocol = selection[0][0]
    chain = f"{protocol.key}/imp/seed-0.masks.npz"
    whole = contents(results)[chain]
    full = Store(results).read_nested_masks(protocol, "imp", 0)
    cut = {name: levels.clip(max=2) for name, levels in full.last_kept.items()}
    short = tmp_path / "short"
    shutil.copytree(results, short)
    Store(short).write_nested_masks(protocol, "imp", 0, type(full)(cut, full.costs[:3]))
    for level in (3, 4):
        for ending in (".json", ".curves.npz"):
            (short / protocol.key / "imp" / f"level-{level:02d}_seed-0{ending}").unlink()
    sent(hub, short, selection)
    sent(hub, results, selection)
    assert hub.repositories[NAME].files[chain] == whole
    sent(hub, short, selection)
    assert hub.repositories[NAME].files[chain] == whole
    assert got(hub, short, selection).new == 5
    assert (short / chain).read_bytes() == whole
    backwards = {name: levels[::-1].copy() for name, levels in full.last_kept.items()}
    Store(short).write_nested_masks(protocol, "imp", 0, type(full)(backwards, full.costs))
    with pytest.raises(Conflict, match=r"seed-0\.masks\.npz"):
        got(hub, short, selection)
    assert (short / chain).read_bytes() != whole


SPOILED: list[tuple[str, Callable[[Path, Protocol], None], str]] = []


def spoil(cause: str) -> Callable[[Callable[[Path], None]], Callable[[Path], None]]:
    """Register a way to spoil the folder of a protocol, with the words of its refusal."""

    def register(function: Callable[[Path], None]) -> Callable[[Path], None]:
        SPOILED.append((function.__name__, lambda root, protocol: function(root / protocol.key), cause))
        return function

    return register


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a record."""
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document, indent=1) + "\n")


@spoil("names another mask than")
def swapped_masks(root: Path) -> None:
    one, other = (root / "imp" / f"seed-{seed}.masks.npz" for seed in (0, 1))
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


@spoil("names other curves than")
def swapped_curves(root: Path) -> None:
    one, other = (root / "dense" / f"level-00_seed-{seed}.curves.npz" for seed in (0, 1))
    first = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(first)


@spoil("has no curves beside it")
def lost_curves(root: Path) -> None:
    (root / "dense" / "level-00_seed-0.curves.npz").unlink()


@spoil("curves without their record")
def lost_record(root: Path) -> None:
    (root / "dense" / "level-00_seed-0.json").unlink()


@spoil("is the record of another cell")
def duplicated_seed(root: Path) -> None:
    for ending in (".json", ".curves.npz"):
        shutil.copy(root / "dense" / f"level-00_seed-0{ending}", root / "dense" / f"level-00_seed-1{ending}")


@spoil("made with another document")
def other_version(root: Path) -> None:
    edit(root / "dense" / "level-00_seed-0.json", lambda d: d["protocol"].update(digest="0" * 64))


@spoil("is 101 percent")
def impossible_accuracy(root: Path) -> None:
    edit(
        root / "dense" / "level-00_seed-0.json", lambda d: d["measured"]["metrics"]["test_accuracy"].update(last=101.0)
    )


@spoil("its mask keeps")
def denser_mask(root: Path) -> None:
    edit(root / "snip" / "level-03_seed-0.json", lambda d: d["mask"].update(kept=d["mask"]["kept"] + 1))


@spoil("not JSON")
def cut_record(root: Path) -> None:
    path = root / "dense" / "level-00_seed-0.json"
    path.write_bytes(path.read_bytes()[:300])


@spoil("not readable|does not fit|another document")
def cut_masks(root: Path) -> None:
    path = root / "imp" / "seed-0.masks.npz"
    path.write_bytes(path.read_bytes()[:-50])


@spoil("too long")
def endless_record(root: Path) -> None:
    path = root / "dense" / "level-00_seed-0.json"
    path.write_bytes(path.read_bytes() + b" " * 2**20)


@pytest.mark.parametrize(("name", "change", "cause"), SPOILED, ids=[name for name, _, _ in SPOILED])
def test_spoiled_results_go_nowhere(
    hub: Hub,
    results: Path,
    selection: Selection,
    tmp_path: Path,
    name: str,
    change: Callable[[Path, Protocol], None],
    cause: str,
) -> None:
    """Not sent by push; and from a repository that holds them all the same, nothing is taken over."""
    change(results, selection[0][0])
    with pytest.raises(BadInput, match=cause):
        sent(hub, results, selection)
    assert NAME not in hub.repositories
    Remote(NAME, hub.url).create(private=False)
    hub.repositories[NAME].add(contents(results))
    with pytest.raises(Conflict, match=cause) as caught:
        got(hub, tmp_path / "copy", selection)
    assert caught.value.exit_code == 1
    assert name
    assert not contents(tmp_path / "copy")
    assert no_leftovers(tmp_path / "copy")


def test_symbolic_links_are_not_followed_by_push(hub: Hub, results: Path, selection: Selection, tmp_path: Path) -> None:
    """A record or a whole folder that lies elsewhere is not sent: it could be any file of this machine."""
    path = results / selection[0][0].key / "dense" / "level-00_seed-0.json"
    path.rename(tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(BadInput, match="symbolic link"):
        sent(hub, results, selection)
    path.unlink()
    (tmp_path / "elsewhere.json").rename(path)
    path.parent.rename(tmp_path / "dense")
    path.parent.symlink_to(tmp_path / "dense")
    with pytest.raises(BadInput, match="symbolic link"):
        sent(hub, results, selection)


def test_files_of_other_names_are_left_alone(hub: Hub, results: Path, selection: Selection, tmp_path: Path) -> None:
    """Whatever a repository holds besides, it is not downloaded, and no name in it leads out of the folder."""
    protocol = selection[0][0]
    sent(hub, results, selection)
    odd = [
        "../outside.json",
        "/tmp/outside.json",
        "x/../../outside.json",
        f"{protocol.key}/../../../outside.json",
        f"{protocol.key}/dense/../../../../level-00_seed-0.json",
        f"{protocol.key}/dense/level-00_seed-7.json",  # a seed that the protocol has not
        f"{protocol.key}/dense/level-00_seed-00.json",
        f"{protocol.key}/dense/level-0\u0660_seed-0.json",
        f"{protocol.key}/dense/level-00_seed-0.json\n",
        f"{protocol.key}/dense/seed-0.masks.npz",
        f"{protocol.key}/nobody/level-00_seed-0.json",
        ".work/weights/x.safetensors",
        "pulled.json",
        "evil.py",
    ]
    hub.repositories[NAME].add(dict.fromkeys(odd, b"{}"))
    before = set(tmp_path.parent.rglob("*outside*"))
    done = got(hub, tmp_path / "copy", selection)
    assert set(done.others) == {*odd, ".gitattributes", "README.md"}
    assert contents(tmp_path / "copy") == contents(results)
    assert set(tmp_path.parent.rglob("*outside*")) == before
    assert not hub.requests("resolve.*(outside|evil|nobody|pulled)")


def test_large_files_go_through_lfs(hub: Hub, results: Path, selection: Selection) -> None:
    """The way the real Hub stores .npz is the way that is tested here."""
    sent(hub, results, selection)
    large = {hashlib.sha256(content).hexdigest() for path, content in contents(results).items() if is_large(path)}
    assert {line.rpartition("/")[2] for line in hub.requests("PUT /large/")} == large


def test_who_may_not_write_is_told_so(
    hub: Hub, results: Path, selection: Selection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(EnvironmentProblem, match="hf auth login") as caught:
        sent(hub, results, selection)
    assert caught.value.exit_code == 3
    assert "hf_wrong" not in str(caught.value)


def test_repositories_that_are_not_there(hub: Hub, selection: Selection, tmp_path: Path) -> None:
    with pytest.raises(EnvironmentProblem, match="Check the name"):
        got(hub, tmp_path, selection)
    with pytest.raises(BadInput, match="owner/name"):
        pull(Store(tmp_path), lambda _: selection, Remote("a/b/c d", hub.url), "main", quiet)
    with pytest.raises(BadInput, match="holds no results"):
        sent(hub, tmp_path, selection)
