"""Data sets by name: the registry, downloads from servers of our own, and what is said where there is none."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import Batches, Server, contents, gz, md5, packed_matrix, tarred, zipped

from benchmark.datasets.cifar10 import Cifar10
from benchmark.datasets.dataset import load
from benchmark.datasets.smallnorb import SmallNorb
from benchmark.datasets.source import HubFile, data_root, fetch, fetch_from_mirror, needs_download, source_of
from benchmark.datasets.tiny_imagenet import TinyImageNet
from benchmark.protocols.recipe import DATASETS
from benchmark.utils.errors import BadInput, EnvironmentProblem

NAMES = (
    "cifar10", "cifar10-grey28", "cifar100", "cifar100-train-20-per-class", "circle", "fashion-mnist",
    "fashion-mnist-2000", "fashion-mnist-rgb32", "lena-64", "mnist", "mnist1d", "none",
    "pepper-128", "pepper-512", "pepper-64", "smallnorb",
    "synthetic", "tiny-imagenet",
)  # fmt: skip


def test_a_module_of_the_package_is_a_data_set_of_its_name() -> None:
    own = [name for name in DATASETS.names() if DATASETS.get(name).__module__.startswith("benchmark.")]
    assert tuple(own) == NAMES  # tests register others in the same process
    assert {name: source_of(name).name for name in NAMES} == {name: name for name in NAMES}
    with pytest.raises(BadInput, match=r"data set 'cifra10'.*cifar10"):
        source_of("cifra10")


def test_what_is_fetched_has_files_to_look_for_and_says_which(tmp_path: Path) -> None:
    """Nothing is there, so what needs no download is what is generated; a part is fetched with the whole."""
    for name in NAMES:
        source = source_of(name)
        assert needs_download(name, tmp_path) is not source.generated
        assert bool(source.expected or source.part_of) is not source.generated
    for name, part in ((name, source_of(name).sample) for name in NAMES):
        assert part is None or source_of(part).part_of == name


@pytest.mark.parametrize("name", [name for name in NAMES if source_of(name).generated])
def test_what_is_generated_has_the_test_set_that_it_names(name: str, tmp_path: Path) -> None:
    assert len(source_of(name).read(tmp_path)[3]) == source_of(name).test_examples


@pytest.mark.data
@pytest.mark.long
def test_what_lies_here_has_the_test_set_that_it_names() -> None:
    """Evaluations are priced by it before anything is read. CIFAR's compact form takes a minute to read."""
    root, seen = data_root(), []
    for source in (source_of(name) for name in NAMES):
        if source.is_present(root) and not source.generated:
            assert len(source.read(root)[3]) == source.test_examples, source.name
            seen.append(source.name)
    if not seen:
        pytest.skip("NOT CHECKED: sizes of real test sets; set LOTTERYBENCH_DATA to a folder that holds some")


def test_asking_what_a_data_set_is_loads_neither_torch_nor_numpy() -> None:
    code = (
        "import sys; from benchmark.datasets.source import DATASETS; DATASETS.all(); "
        "print([name for name in ('torch', 'numpy', 'torchvision') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_what_is_missing_comes_from_its_home(
    tmp_path: Path, batches: Batches, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tarred(contents(batches))
    Server.files["/cifar.tar.gz"] = archive
    monkeypatch.setattr("torchvision.datasets.CIFAR10.url", f"{server}/cifar.tar.gz")
    monkeypatch.setattr("torchvision.datasets.CIFAR10.tgz_md5", md5(archive))
    assert needs_download("cifar10", tmp_path)
    data = load("cifar10", tmp_path)
    assert np.array_equal(data.test_inputs.numpy(), batches["test_batch"][1])
    assert not needs_download("cifar10", tmp_path)


def test_fashion_and_tiny_come_from_their_homes(
    tmp_path: Path, fashion: Any, tiny: dict[str, bytes], server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Server.files = {f"/{name}": content for name, content in gz(fashion).items()}
    monkeypatch.setattr("torchvision.datasets.FashionMNIST.mirrors", [f"{server}/"])
    assert load("fashion-mnist", tmp_path).classes == 10
    Server.files["/tiny-imagenet-200.zip"] = zipped(tiny)
    monkeypatch.setattr(TinyImageNet, "url", f"{server}/tiny-imagenet-200.zip")
    monkeypatch.setattr(TinyImageNet, "md5", md5(zipped(tiny)))
    assert load("tiny-imagenet", tmp_path).classes == 2


def test_small_norb_comes_from_its_home(
    tmp_path: Path, norb: dict[str, Any], server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Server.files = {f"/{name}.gz": packed_matrix(matrix) for name, matrix in norb.items()}
    monkeypatch.setattr(SmallNorb, "home", f"{server}/")
    data = load("smallnorb", tmp_path)
    assert (data.classes, data.train_inputs.shape, len(data.test_labels)) == (5, (6, 1, 96, 96), 5)
    assert not needs_download("smallnorb", tmp_path)
    first, *_ = norb
    (tmp_path / "smallNORB" / f"{first}.gz").write_bytes(Server.files[f"/{first}.gz"][:-1])
    load.cache_clear()
    with pytest.raises(EnvironmentProblem, match="truncated or altered"):
        load("smallnorb", tmp_path)


@pytest.mark.parametrize(
    "name", ["cifar10", "cifar100", "fashion-mnist", "smallnorb", "tiny-imagenet", "cifar100-train-20-per-class"]
)
def test_without_a_network_the_way_out_is_named(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10, CIFAR100

    nowhere = "http://127.0.0.1:9/"
    for home in (CIFAR10, CIFAR100):
        monkeypatch.setattr(home, "url", nowhere)
    monkeypatch.setattr("torchvision.datasets.FashionMNIST.mirrors", [nowhere])
    monkeypatch.setattr(TinyImageNet, "url", nowhere)
    monkeypatch.setattr(SmallNorb, "home", nowhere)
    with pytest.raises(EnvironmentProblem, match="could not be downloaded") as caught:
        load(name, tmp_path)
    assert (
        "cifar100" if name == "cifar100-train-20-per-class" else name
    ) in caught.value.thing  # of which the sample is a part
    assert "LOTTERYBENCH_DATA" in caught.value.fix
    assert len(str(caught.value).splitlines()) == 1


def test_of_a_download_that_breaks_off_nothing_is_read(
    tmp_path: Path, batches: Batches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The home writes a file's final name and dies; what a killed process had left is swept away as well."""

    def breaks_off(_self: object, root: Path) -> None:
        (root / "cifar-10-batches-py").mkdir()
        for name, content in contents(batches).items():
            (root / "cifar-10-batches-py" / name).write_bytes(content[:100])
        raise ConnectionResetError("the network is gone")

    (tmp_path / ".cifar10.part" / "older").mkdir(parents=True)
    monkeypatch.setattr(Cifar10, "download", breaks_off)
    with pytest.raises(EnvironmentProblem, match="the network is gone"):
        fetch("cifar10", tmp_path)
    assert needs_download("cifar10", tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == [".cifar10.lock"]


def test_of_two_that_ask_at_once_one_fetches(tmp_path: Path, batches: Batches, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, asked = threading.Barrier(2), list[Path]()

    def slowly(_self: object, root: Path) -> None:
        asked.append(root)
        time.sleep(0.3)
        (root / "cifar-10-batches-py").mkdir()
        for name, content in contents(batches).items():
            (root / "cifar-10-batches-py" / name).write_bytes(content)

    def ask() -> None:
        begun.wait()
        fetch("cifar10", tmp_path)

    monkeypatch.setattr(Cifar10, "download", slowly)
    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 1
    assert not needs_download("cifar10", tmp_path)


def test_a_hub_mirror_steps_in_at_its_pinned_revision(
    tmp_path: Path, batches: Batches, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit is what is asked for; a file that is not the published one is refused; the Hub's cache is used."""
    archive, name = tarred(contents(batches)), "cifar-10-python.tar.gz"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("torchvision.datasets.CIFAR10.url", "http://127.0.0.1:9/")
    file = HubFile("some/cifar", Server.revision, name, md5(archive), name)
    monkeypatch.setattr(Cifar10, "mirrors", (file,))
    place = f"/datasets/some/cifar/resolve/{Server.revision}/{name}"
    Server.files[place] = archive
    assert fetch_from_mirror("cifar10", tmp_path / "root", endpoint=server)
    assert set(Server.asked) == {place}
    assert np.array_equal(load("cifar10", tmp_path / "root").test_inputs.numpy(), batches["test_batch"][1])
    Server.files.clear()
    load.cache_clear()
    assert load("cifar10", tmp_path / "offline").classes == 10  # from the Hub's cache, by way of `fetch`
    wrong = HubFile("some/cifar", Server.revision, name, "0" * 32, name)
    monkeypatch.setattr(Cifar10, "mirrors", (wrong,))
    with pytest.raises(EnvironmentProblem, match="truncated or altered"):
        fetch_from_mirror("cifar10", tmp_path / "root", endpoint=server)


def test_a_mirror_needs_a_commit() -> None:
    for revision in ("main", "0" * 39, "G" * 40):
        with pytest.raises(ValueError, match="no commit"):
            HubFile("some/cifar", revision, "x", "0" * 32, "x")
    assert not fetch_from_mirror("mnist1d", Path())
