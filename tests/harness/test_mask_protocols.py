"""Protocols that measure masks and train nothing: what they may say, what is recorded, and that it is checked."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from made_once import made_once, run_all
from mask_protocol import EACH, LINEAR, ONCE, analysis, method

from benchmark.claims.observations import Observations, reported_metric
from benchmark.harness.harness import Harness, Settings
from benchmark.networks import build, initial_state
from benchmark.planning.plan import expected_seconds, jobs
from benchmark.protocols import Protocol, load, parse
from benchmark.protocols.cells import Cell, cells_of, method_names
from benchmark.protocols.levels import linear_totals
from benchmark.pruning.masks import full_masks, keep_highest, masks_from_scores
from benchmark.pruning.schedule import PruneCost, Scored, cut_again
from benchmark.records.schema import Record
from benchmark.records.schema import parse as parse_record
from benchmark.records.store import Store
from benchmark.sharing.integrity import contradictions
from benchmark.sharing.remeasure import compare_means
from benchmark.utils.errors import BadInput
from benchmark.utils.seeding import stream

SHUFFLE = {"of": "a", "control": "shuffle", "draws": 1, "levels": [1]}


@pytest.fixture(scope="module")
def masks_protocol(tiny_protocol: Protocol) -> Protocol:
    return parse(analysis(tiny_protocol), "masks.yaml")


@pytest.fixture(scope="module")
def measured(masks_protocol: Protocol, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Every cell, made by the harness with its pruners confined."""
    return Store(made_once(tmp_path_factory, "masks", lambda root: run_all(masks_protocol, root)))


def record_of(store: Store, protocol: Protocol, cell: Cell) -> Record:
    record = store.read(protocol, cell)
    assert record is not None
    return record


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"recipe": "keep"}, "recipe: a protocol with measures: masks trains nothing"),
        ({"evaluation": "keep"}, "evaluation: a protocol with measures: masks trains nothing"),
        ({"measures": "weights"}, "masks.yaml: measures"),
        ({"methods": {"imp": method("magnitude", {**EACH, "rounds": "levels", "scores": "trained"})}}, "methods.imp"),
        ({"methods": {"late": method("magnitude", {**EACH, "scores": "trained"})}}, "methods.late"),
        ({"methods": {"a": method("magnitude", ONCE), "a+shuffle": SHUFFLE}}, "methods.a+shuffle"),
        ({"methods": {"a": method("magnitude", {**ONCE, "rounds": 3})}}, "once-for-all-levels needs rounds: 1"),
        ({"methods": {"a": method("magnitude", {**LINEAR, "rounds": 1})}}, "curve: linear needs a number"),
        ({"methods": {"a": method("magnitude", EACH, keep="most")}}, "keep"),
    ],
)  # fmt: skip
def test_contradictions_are_named(tiny_protocol: Protocol, change: dict[str, Any], says: str) -> None:
    document = analysis(tiny_protocol)
    document |= {key: tiny_protocol.document[key] if value == "keep" else value for key, value in change.items()}
    with pytest.raises(BadInput) as caught:
        parse(document, "masks.yaml")
    assert says in str(caught.value)


def test_what_trains_cannot_use_what_is_for_masks(tiny_protocol: Protocol) -> None:
    document = copy.deepcopy(tiny_protocol.document)
    document["methods"]["once"] = method("magnitude", ONCE)
    with pytest.raises(BadInput, match=r"methods\.once: scored: once-for-all-levels needs measures: masks"):
        parse(document, "f.yaml")
    document = copy.deepcopy(tiny_protocol.document)
    document["data"] |= {"name": "cifar100-train-20-per-class", "scaling": "unit-interval"}
    with pytest.raises(BadInput, match=r"data\.name: 'cifar100-train-20-per-class' has no test set"):
        parse(document, "f.yaml")
    for field in ("recipe", "evaluation"):
        document = copy.deepcopy(tiny_protocol.document)
        del document[field]
        with pytest.raises(BadInput, match=f"{field}: Field required.*Add the field"):
            parse(document, "f.yaml")


def test_documents_of_protocols_that_train_did_not_grow() -> None:
    """Their digests are in LOCK.json; here it is said what would have moved them."""
    for name in ("lth/lenet-mnist", "mnist1d/mlp"):
        document = load(name).document
        assert "measures" not in document
        assert "exact" not in document["statistics"]["margins"]
        for spec in document["methods"].values():
            assert not {"keep", "curve", "scored"} & {*spec, *spec.get("schedule", {})}


def test_every_cell_is_a_mask_with_its_scores_and_nothing_else(measured: Store, masks_protocol: Protocol) -> None:
    assert "dense" not in method_names(masks_protocol)
    records = measured.records(masks_protocol)
    wanted = [cell for name in method_names(masks_protocol) for cell in cells_of(masks_protocol, name)]
    assert len(records) == len(wanted) == 6 * 4 * 2
    for record in records:
        assert record.status == "finished", record.reason
        assert record.measured is None
        assert record.curves_sha256 is None
        assert record.cost is not None
        assert record.cost.train_steps == record.cost.train_examples == 0
        assert record.mask is not None
        assert record.mask.kept == masks_protocol.level_table[record.cell.level].kept
        assert not list(contradictions(masks_protocol, record))
        assert parse_record(record.dumps(), "r.json") == record


def test_masks_and_sums_are_those_computed_by_hand(measured: Store, masks_protocol: Protocol) -> None:
    """Magnitude masks of seed 1 again, from the initial weights and a full stable sort."""
    module = build(masks_protocol)
    state = initial_state(module, masks_protocol.network, stream(1, "init"))
    names = list(masks_protocol.pruning.prunable)
    scores = torch.cat([state[name].abs().flatten().double() for name in names])
    for name, sign in (("magnitude", 1.0), ("smallest", -1.0)):
        order = torch.sort(sign * scores, descending=True, stable=True).indices
        for level in range(1, 5):
            record = record_of(measured, masks_protocol, Cell(name, level, 1))
            kept = torch.zeros(len(scores), dtype=torch.bool)
            kept[order[: masks_protocol.level_table[level].kept]] = True
            counts = [int(part.sum()) for part in torch.split(kept, [state[n].numel() for n in names])]
            assert record.mask is not None
            assert [layer.kept for layer in record.mask.layers.values()] == counts
            assert record.scores is not None
            for tensor, layer in zip(names, record.scores.layers.values(), strict=True):
                assert layer.sum == pytest.approx(sign * float(state[tensor].abs().double().sum()), rel=1e-12)
                assert layer.scored == state[tensor].numel()


def test_levels_of_one_set_of_scores_are_one_job_and_nested(measured: Store, masks_protocol: Protocol) -> None:
    planned = jobs(masks_protocol, ["magnitude", "random"], Store(measured.root / "empty"))
    assert sorted(len(job.cells) for job in planned) == [1] * 8 + [4] * 2
    names = {job.name for job in planned if job.method == "magnitude"}
    assert names == {"magnitude_seed-0", "magnitude_seed-1"}
    for level in range(1, 5):
        one, two = (record_of(measured, masks_protocol, Cell("snip", level, seed)) for seed in (0, 1))
        assert one.cost is not None
        assert (one.cost.prune_forward_passes, one.cost.prune_examples) == (1, 20)  # scored once, and each mask's cost
        assert one.mask != two.mask


def test_resuming_gives_the_same_records(measured: Store, masks_protocol: Protocol, tmp_path: Path) -> None:
    """Levels that are left of a job of four are scored again, to the same bits."""
    import shutil

    shutil.copytree(measured.root, tmp_path / "again")
    again = Store(tmp_path / "again")
    lost = [Cell("magnitude", 2, 0), Cell("magnitude", 4, 0), Cell("random", 3, 1)]
    for cell in lost:
        again.record_path(masks_protocol, cell).unlink()
    harness = Harness(masks_protocol, again, Settings(data_root=tmp_path))
    left = jobs(masks_protocol, method_names(masks_protocol), again)
    assert [job.cells for job in left] == [tuple(lost[:2]), tuple(lost[2:])]
    assert all(harness.run(job) for job in left)
    for cell in lost:
        made, first = (record_of(store, masks_protocol, cell) for store in (again, measured))
        assert made.fingerprint() == first.fingerprint()
    found = compare_means(masks_protocol, measured, again)
    assert (found.cells, found.identical, found.deviates) == (48, 48, False)


def test_a_budget_does_not_throw_scores_away(masks_protocol: Protocol, tmp_path: Path) -> None:
    """Scoring is asked for once with its time; the levels cut from it cost nothing more."""
    asked: list[float] = []

    def may_start(seconds: float) -> bool:
        asked.append(seconds)
        return True

    store = Store(tmp_path)
    harness = Harness(masks_protocol, store, Settings(data_root=tmp_path, may_start=may_start))
    for job in jobs(masks_protocol, ["snip"], store):
        assert harness.run(job)
    assert [seconds > 0 for seconds in asked] == [True, False, False, False] * 2


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("mask", "layers", "fc1", "kept"), 3, "its layers keep"),
        (("mask", "layers", "fc1", "size"), 5, "not the protocol's"),
        (("mask", "kept"), 7, "its mask keeps 7"),
        (("mask", "density"), 0.5, "its density is not"),
        (("mask", "collapsed_layers"), ["fc2"], "other collapsed layers"),
        (("scores", "rounds"), 3, "its scores are of 3 rounds"),
        (("scores", "layers", "fc1", "scored"), 1, "not of the layers it cut"),
        (("scores", "prune_to_cut_largest"), -1.0, "below 0"),
        (("mask",), None, "or without a mask"),
        (("cell", "density_asked"), 0.123, "density_asked"),
    ],
)
def test_a_tampered_record_is_refused(
    measured: Store, masks_protocol: Protocol, path: tuple[str, ...], value: object, says: str
) -> None:
    cell = Cell("magnitude", 2, 0)
    document = json.loads(record_of(measured, masks_protocol, cell).dumps())
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert says in next(contradictions(masks_protocol, parse_record(json.dumps(document, indent=1) + "\n", "r.json")))


def test_an_accuracy_in_a_record_of_a_mask_is_refused(
    measured: Store, masks_protocol: Protocol, tiny_protocol: Protocol
) -> None:
    from builders import Outcome, record

    figures = record(tiny_protocol, Cell("dense", 0, 0), Outcome(50.0, 10)).measured
    own = record_of(measured, masks_protocol, Cell("magnitude", 2, 0))
    forged = own.model_copy(update={"measured": figures})
    assert "figures of a training" in next(contradictions(masks_protocol, forged))


def test_accuracies_do_not_see_masks(measured: Store, masks_protocol: Protocol) -> None:
    seen = Observations(masks_protocol, measured.records(masks_protocol))
    assert seen.by_seed("last-accuracy", ("magnitude", 1)) == {}
    assert reported_metric(masks_protocol) == "empty-layers"
    assert set(seen.by_seed("empty-layers", ("magnitude", 1))) == {0, 1}


def test_records_of_trainings_have_no_field_of_masks(tiny_protocol: Protocol) -> None:
    """The text of old records must not move by what was added for masks."""
    from builders import Outcome, record

    assert "scores" not in json.loads(record(tiny_protocol, Cell("dense", 0, 0), Outcome(50.0, 10)).dumps())


def test_time_is_counted_once_for_one_set_of_scores(measured: Store, masks_protocol: Protocol) -> None:
    expected = expected_seconds(masks_protocol, measured.records(masks_protocol))
    four, one = [Cell("magnitude", level, 0) for level in range(1, 5)], [Cell("magnitude", 1, 0)]
    assert expected(four) == expected(one) > 0
    assert expected([Cell("random", 1, 0), Cell("random", 2, 0)]) == 2 * expected([Cell("random", 1, 0)]) > 0
    nothing = expected_seconds(masks_protocol, [])
    assert nothing([Cell("synflow", 1, 0)]) == pytest.approx(10 * nothing([Cell("random", 1, 0)]))


def test_linear_totals_fall_by_equal_amounts() -> None:
    assert linear_totals(100, 20, 4) == [80, 60, 40, 20]
    assert linear_totals(10, 3, 3) == [8, 5, 3]  # 7.67, 5.33, 3


def reference(scores: torch.Tensor, alive: torch.Tensor, count: int) -> torch.Tensor:
    """A full stable sort in which what is gone ranks last: the slow way."""
    ranked = scores.double().masked_fill(~alive, -torch.inf)
    kept = torch.zeros_like(alive)
    kept[torch.sort(ranked, descending=True, stable=True).indices[:count]] = True
    return kept


@pytest.mark.parametrize("seed", range(20))
def test_ranking_survivors_only_gives_the_same_bits_as_ranking_all(seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    scores = torch.randint(-3, 4, (200,), generator=rng).float()  # ties everywhere
    alive = torch.rand(200, generator=rng) < 0.6
    for count in (0, 1, int(alive.sum()) // 2, int(alive.sum())):
        assert torch.equal(keep_highest(scores, alive, count), reference(scores, alive, count))
        halves = {"a": scores[:90].reshape(9, 10), "b": scores[90:]}
        before = {"a": alive[:90].reshape(9, 10), "b": alive[90:]}
        masks = masks_from_scores(halves, before, {"all": ["a", "b"]}, {"all": count})
        assert torch.equal(torch.cat([masks["a"].flatten(), masks["b"]]), reference(scores, alive, count))


@pytest.mark.parametrize("order", [(1, 2, 3, 4), (4, 1, 3, 2), (2, 2, 1, 4)])
def test_one_set_of_scores_gives_each_level_the_same_mask_in_any_order(
    masks_protocol: Protocol, order: tuple[int, ...]
) -> None:
    rng = torch.Generator().manual_seed(3)
    pruning = masks_protocol.pruning
    spec = masks_protocol.pruning_method("magnitude")
    scores = {n: torch.randint(0, 4, s, generator=rng).double() for n, s in pruning.prunable.items()}
    full = full_masks(pruning.prunable)
    shared = Scored(scores, PruneCost(0.0, 0, 0, 0), full, full)
    for level in order:
        masks, _ = cut_again(shared, spec, pruning, masks_protocol.level_table[level])
        kept = {"all": masks_protocol.level_table[level].kept}
        alone = masks_from_scores(scores, full, {"all": list(pruning.prunable)}, kept)
        assert all(torch.equal(masks[name], alone[name]) for name in alone)
