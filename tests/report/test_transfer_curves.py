"""The picture of a transfer: accuracies of records by hand, against the rounds of pruning on the source."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean

from transfer_protocols import HEAD, source_document, taking, target_document, written

from benchmark.claims.observations import Observations
from benchmark.harness.harness import Harness, Settings
from benchmark.planning.plan import jobs
from benchmark.protocols import load_file
from benchmark.protocols.cells import DENSE, method_names
from benchmark.records.store import Store
from benchmark.report.curves_svg import curves_svg
from benchmark.report.transfer_curves import FROM_SCRATCH, transfer_pictures


def test_lines_are_means_of_records_over_the_sources_rounds(tmp_path: Path) -> None:
    methods = {"trained": taking("trained"), "theta0": taking("theta0"), "linear": taking("trained", hook=HEAD)}
    target = target_document(methods=methods, seeds=[0, 1])
    protocol, store = load_file(written(tmp_path, source_document(), target)), Store(tmp_path / "results")
    assert transfer_pictures(Observations(protocol, [])) == []
    harness = Harness(protocol, store, Settings())
    for job in jobs(protocol, method_names(protocol), store):
        assert harness.run(job)
    records = store.records(protocol)

    def accuracies(method: str, level: int) -> list[float]:
        own = [r for r in records if (r.method.name, r.cell.level) == (method, level)]
        found = [r.measured.value("test_accuracy", "early_stop") for r in own if r.measured]
        return [value for value in found if value is not None]

    whole, head = transfer_pictures(Observations(protocol, records))
    assert [line.name for line in whole.series] == ["trained", "theta0", FROM_SCRATCH]
    assert [line.name for line in head.series] == ["linear", FROM_SCRATCH]
    assert whole.title.endswith("all layers trained")
    assert head.title.endswith("fc3 trained")
    line = whole.series[0]
    assert (line.x, line.seeds) == ((0.0, 2.0), 2)  # the dense network of the source, and its second level
    for place, level in enumerate((1, 2)):
        values = accuracies("trained", level)
        assert len(values) == 2
        assert (line.mean[place], line.low[place], line.high[place]) == (fmean(values), min(values), max(values))
    assert whole.series[-1].mean == (fmean(accuracies(DENSE, 0)),) * 2
    assert "rounds of pruning on tests/source" in curves_svg(protocol.id, whole)
