"""A machine is what bits hang on, not its name; records made before it was noted are read and are of no machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from builders import PROVENANCE
from record_documents import document_of, text_of

from benchmark.protocols import Protocol
from benchmark.records import provenance
from benchmark.records.provenance import moving_variables, this_machine
from benchmark.records.schema import parse
from benchmark.sharing.remeasure import same_machine

INFO = """processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 25
model\t\t: 1
model name\t: AMD EPYC
stepping\t: 1
flags\t\t: fpu sse2 avx2 avx fma nopl

processor\t: 1
stepping\t: 7
"""


def test_what_the_kernel_says_of_the_first_processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(INFO)
    for level, kind, size in ((1, "Data", "32K"), (2, "Unified", "512K")):
        folder = tmp_path / "cache" / f"index{level}"
        folder.mkdir(parents=True)
        for name, value in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(f"{value}\n")
    monkeypatch.setattr(provenance, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(provenance, "CACHES", tmp_path / "cache")
    found = this_machine("AVX2")
    assert (found.vendor, found.family, found.model, found.stepping) == ("AuthenticAMD", "25", "1", "1")
    assert (found.instructions, found.caches) == ("avx avx2 fma", "1 Data 32K, 2 Unified 512K")
    monkeypatch.setattr(provenance, "CPUINFO", tmp_path / "nowhere")
    assert this_machine(None).family is None


def test_only_variables_that_move_bits_are_kept() -> None:
    given = {
        "MKL_CBWR": "COMPATIBLE",
        "OMP_NUM_THREADS": "1",
        "HOME": "/",
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_X": "\x1b",
    }
    assert moving_variables(given) == {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "COMPATIBLE"}


def test_one_name_is_not_one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    here = PROVENANCE.model_copy(update={"machine": this_machine("AVX2")})
    assert same_machine(here, here.model_copy())
    assert not same_machine(here, PROVENANCE.model_copy(update={"machine": this_machine("AVX512")}))
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    assert not same_machine(here, PROVENANCE.model_copy(update={"machine": this_machine("AVX2")}))
    assert not same_machine(PROVENANCE, PROVENANCE)  # made before machines were noted


def test_a_record_names_its_machine_and_earlier_ones_none(tiny_protocol: Protocol) -> None:
    document = document_of(tiny_protocol)
    assert parse(text_of(document), "r.json").provenance.machine is None
    document["provenance"]["machine"] = this_machine("AVX2").model_dump(mode="json")
    record = parse(text_of(document), "r.json")
    assert record.dumps() == text_of(document)
    assert record.provenance.machine is not None
    assert set(record.provenance.machine.environment) == set(moving_variables(os.environ))


def test_the_commit_of_another_project_is_nobodys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed copy below the checkout of something else: git answers there, of other files."""

    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", "-C", str(tmp_path), *identity, *arguments], check=True, capture_output=True)

    git("init")
    git("commit", "--allow-empty", "-m", "theirs")
    copy = tmp_path / "site" / provenance.OWN_FILE
    copy.parent.mkdir(parents=True)
    copy.write_bytes(Path(provenance.__file__).read_bytes())
    monkeypatch.setattr(provenance, "__file__", str(copy))
    provenance.commit.cache_clear()
    assert provenance.commit() == (None, None)
    shutil.copytree(tmp_path / "site" / "benchmark", tmp_path / "benchmark")
    git("add", "benchmark")
    git("commit", "-m", "ours")
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / provenance.OWN_FILE))
    provenance.commit.cache_clear()
    head, dirty = provenance.commit()
    provenance.commit.cache_clear()
    assert (len(head or ""), dirty) == (40, False)
