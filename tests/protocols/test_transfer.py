"""`masks_from`: the source is found, pinned by its digest, and refused with one clear error where it does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transfer_protocols import PRUNABLE, source_document, taking, target_document, written

from benchmark.planning.plan import plan
from benchmark.planning.select import planned_for, selection_of, with_sources
from benchmark.protocols import load, load_file
from benchmark.protocols.cells import Cell, method_words, source_cells, source_of, started_from
from benchmark.records.store import Store
from benchmark.utils.errors import BadInput

INVERTED = {"of": "a", "control": "invert", "inverted": "every-round", "draws": 1, "levels": [2]}


def test_levels_are_matched_by_their_weights_and_seeds_by_themselves(tmp_path: Path) -> None:
    protocol = load_file(written(tmp_path))
    source = load_file(tmp_path / "source.yaml")
    assert source_of(protocol, Cell("dense", 0, 0)) is None
    for level, of in {1: Cell("dense", 0, 0), 2: Cell("imp", 2, 0)}.items():
        found = source_of(protocol, Cell("theta0", level, 0))
        assert found is not None
        assert (found[0].digest, found[1]) == (source.digest, of)
        kept = source.level_table[of.level].kept
        assert protocol.level_table[level].kept == kept
    starts = {name: started_from(protocol, Cell(name, 2, 0)) for name in protocol.methods}
    assert starts == {
        "trained": Cell("dense", 0, 0), "theta0": None, "random": None, "fine-tuned": Cell("imp", 2, 0),
        "linear": Cell("dense", 0, 0),
    }  # fmt: skip
    assert "the trained dense weights" in method_words(protocol, "trained")


def test_the_targets_digest_covers_the_source(tmp_path: Path) -> None:
    before = load_file(written(tmp_path))
    taken = before.pruning_methods["trained"].masks_from
    assert taken is not None
    assert taken.digest == load_file(tmp_path / "source.yaml").digest
    other = load_file(written(tmp_path, source_document(title="another")))
    assert other.digest != before.digest
    pinned = target_document(methods={"trained": taking("trained", digest=taken.digest)})
    with pytest.raises(BadInput, match=r"source\.yaml is another document\. Its digest is"):
        load_file(written(tmp_path, source_document(title="another"), pinned))


def test_packaged_targets_name_versions_that_are_locked() -> None:
    protocol = load("transfer/lenet-fashion2k")
    (source,) = protocol.mask_sources.values()
    assert source.digest == load("transfer/lenet-mnist@1").digest
    cells = source_cells(protocol, "trained-full")[source]
    assert {cell.level for cell in cells} == {0, 3, 7, 10, 13}  # 100, 51, 21, 11 and 5.5 %


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        ({}, {"methods": {"a": taking("trained", method="imp2")}}, "has no pruning method 'imp2'"),
        ({}, {"methods": {"a": taking("trained", protocol="nowhere.yaml")}}, "nowhere.yaml"),
        ({}, {"methods": {"a": taking("trained", protocol="lth/lenet-mnist")}}, "neither id@version nor a .yaml file"),
        ({}, {"methods": {"a": taking("trained", level=1)}}, "no level 1 with the 320 weights of level 1"),
        ({}, {"levels": {"rule": "listed", "densities": [1.0, 0.3]}}, "no level with the 96 weights of level 2"),
        ({}, {"methods": {"a": taking("trained", head=["fc4"])}}, "head: there is no layer 'fc4'"),
        ({}, {"methods": {"a": {**taking("trained"), "pruner": "random"}}}, "the masks are by magnitude, global"),
        ({"seeds": [1]}, {}, "tests/source has no seed 0"),
        ({}, {"methods": {"a": taking("trained"), "a+invert": INVERTED}}, "invert them there"),
        ({}, {"network": {"name": "mlp", "initialiser": "glorot-normal", "bias": "zeros", "widths": [12, 16, 8, 9, 4]}},
         "Name its layer in head"),
        ({}, {"methods": {"a": {**taking("trained"), "schedule": {"rounds": 2, "scores": "initial", "restart": 0}}}},
         "rounds: 1, scores: initial, restart: 0"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_clear_error(
    tmp_path: Path, source: dict[str, Any], target: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadInput) as caught:
        load_file(written(tmp_path, source_document(**source), target_document(**target)))
    assert words in str(caught.value)
    assert "target.yaml" in str(caught.value) or "nowhere.yaml" in str(caught.value)


def test_masks_of_another_network_are_refused(tmp_path: Path) -> None:
    smaller = target_document()
    smaller["pruning"] = smaller["pruning"] | {"prunable": {"fc1.weight": PRUNABLE["fc1.weight"]}}
    with pytest.raises(BadInput, match="the masks of tests/source are of another network"):
        load_file(written(tmp_path, None, smaller))


def test_a_circle_is_refused(tmp_path: Path) -> None:
    back = source_document(methods={**source_document()["methods"], "a": taking("theta0", protocol="target.yaml")})
    with pytest.raises(BadInput, match="is a circle: target from source from target"):
        load_file(written(tmp_path, back))


def test_a_plan_of_the_target_has_the_source_in_front(tmp_path: Path) -> None:
    path = written(tmp_path)
    selection = with_sources(selection_of([f"{path}:trained"]))
    assert [(p.id, method) for p, method in selection] == [
        ("tests/source", "dense"), ("tests/source", "imp"), ("tests/target", "trained"),
    ]  # fmt: skip
    planned = plan(selection[::-1], Store(tmp_path / "results"))
    assert [item.job.protocol.id for item in planned] == ["tests/source"] * 4 + ["tests/target"] * 2


def test_what_a_claim_wants_of_the_target_it_wants_of_the_source(tmp_path: Path) -> None:
    """Claims rest on records of the target; the chain behind them has their tier, and no other cell of the source."""
    target, source = load("transfer/lenet-fashion2k"), load("transfer/lenet-mnist")
    selection = with_sources(selection_of([f"{target.id}:theta0-full"]))
    planned = planned_for(selection, Store(tmp_path / "results"), wanted_for="mehta-11-lenet-full")
    cells = {cell for item in planned if item.job.protocol == source for cell in item.job.cells}
    assert {cell.level for cell in cells if cell.method == "imp"} == {*range(1, 14)}
    assert {cell.seed for cell in cells} == {*target.seeds}
    first = [item.job.protocol.id for item in planned]
    assert first == sorted(first, key=[source.id, target.id].index)
