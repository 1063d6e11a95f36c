"""Where data sets come from and lie, and whether their files are what was published. Loads neither torch nor numpy.

A data set is one module of this package, with one `DataSource` registered under its name; `source_of` imports it when a
protocol first names it. Reading is left to the source, tensors to `benchmark.datasets.dataset`.

    @DATASETS.register("mnist1d")  # in benchmark/datasets/mnist1d.py
    class Mnist1d(DataSource): ...
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from benchmark.protocols.recipe import DATASETS, DataFacts
from benchmark.utils.errors import EnvironmentProblem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Arrays = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], str]
    """Training inputs (n, *shape), float32 or uint8, and labels (n,), int64, or images, float32; those of the test set;
    `digest_of` what was read.

    Images are (n, channels, height, width). A data set without a test set gives arrays of no rows.
    """

REPAIR = "Delete that file and run again to make it anew, or set LOTTERYBENCH_DATA to an intact copy"
LONGEST_REASON = 300  # characters; torchvision's message lists every mirror with its error


@dataclass(frozen=True)
class HubFile:
    """One file of a dataset repository of the Hugging Face Hub, for where a data set's home is slow or gone.

    `revision` is a commit (40 hex digits): branches move, commits do not. `md5` is the one that the home publishes, so
    it does not matter who holds the file. `path` says where it goes under the data root; an archive (.tar.gz) is
    unpacked beside it.
    """

    repository: str
    revision: str
    filename: str
    md5: str
    path: str

    def __post_init__(self) -> None:
        if len(self.revision) != 40 or not set(self.revision) <= set("0123456789abcdef"):
            raise ValueError(f"revision '{self.revision}' of {self.repository} is no commit of 40 hex digits")


class DataSource(DataFacts, ABC):
    """One data set: which files it has, where they come from, how they are read.

    `name`: as protocols name it. `layouts`: sets of files under the data root, each of which is the whole data set;
    torchvision's first. `expected`: what the data root has to hold, in words for an error. `part_of`: the data set
    that is fetched for this one. `sample`: the name of one that holds some of its training examples. `mirrors`: its
    files on the Hub. No mirror is listed so far: no repository and commit could be checked from where this was written.
    """

    name: ClassVar[str]
    layouts: ClassVar[tuple[tuple[str, ...], ...]] = ()
    expected: ClassVar[str] = ""
    part_of: ClassVar[str | None] = None
    sample: ClassVar[str | None] = None
    mirrors: ClassVar[tuple[HubFile, ...]] = ()

    @abstractmethod
    def read(self, root: Path) -> Arrays:
        """The data set from the data root, fetched first if it is not there.

        Raises EnvironmentProblem naming the file that is missing, truncated or altered, and what to do.
        """

    def download(self, root: Path) -> None:
        """Put the files under `root` from the data set's home, checked by md5. Raises whatever says why it failed."""
        raise NotImplementedError(f"data set {self.name} has no home to download it from")

    def has_layout(self, number: int, root: Path) -> bool:
        """Whether all files of one of the `layouts` are under `root`."""
        return all((root / file).exists() for file in self.layouts[number])

    def is_present(self, root: Path) -> bool:
        """Whether it can be read without being fetched; the files themselves are not opened."""
        return self.generated or any(self.has_layout(number, root) for number in range(len(self.layouts)))


def source_of(name: str) -> DataSource:
    """The source of the data set of this name. Raises BadInput, with the nearest name, if there is none."""
    return cast("type[DataSource]", DATASETS.get(name))()


def cache_root() -> Path:
    """The user's own folder for data: what was downloaded or restored from a compact form."""
    return Path.home() / ".cache" / "lotterybench" / "data"


def data_root() -> Path:
    """$LOTTERYBENCH_DATA, else a cache folder of the user's."""
    given = os.environ.get("LOTTERYBENCH_DATA")
    return Path(given) if given else cache_root()


def needs_download(name: str, root: Path) -> bool:
    """Whether the data set has to be fetched before it can be used."""
    return not source_of(name).is_present(root)


def obtain_data(name: str) -> EnvironmentProblem | None:
    """Fetch a data set if it is missing, before any worker starts; what went wrong if that failed."""
    root = data_root()
    if not needs_download(name, root):
        return None
    try:
        fetch(name, root)
    except EnvironmentProblem as problem:
        return problem
    return None


def fetch(name: str, root: Path) -> None:
    """Put the files of data set `name` under `root`, from its home, else from the Hub; each file whole or not at all.

    Of processes that ask at once one fetches. Raises EnvironmentProblem saying why that failed and what to do.
    """
    from filelock import FileLock

    source = source_of(name)
    if source.part_of:
        fetch(source.part_of, root)
        return
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{name}.lock"):
            if not source.is_present(root):
                _fetch_beside(source, root)
    except Exception as error:  # download libraries raise many kinds; all mean that the data set is not there
        reason = _reason(error)
        raise EnvironmentProblem(
            f"data set {name} under {root}",
            f"it is not there and could not be downloaded ({reason})",
            f"Set LOTTERYBENCH_DATA to a folder that holds {source.expected}, or connect to the network",
        ) from error


def _fetch_beside(source: DataSource, root: Path) -> None:
    """Fetch into a folder of its own below `root` first: download libraries write under a file's final name."""
    beside = root / f".{source.name}.part"
    shutil.rmtree(beside, ignore_errors=True)  # of a download that was killed
    beside.mkdir()
    try:
        try:
            source.download(beside)
        except Exception:
            if not fetch_from_mirror(source.name, beside):
                raise
        for file in sorted(path for path in beside.rglob("*") if path.is_file()):
            target = root / file.relative_to(beside)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _reason(error: Exception) -> str:
    """Why a download failed, in few words: of an error that lists every mirror, what the last one's network said."""
    text = " ".join(str(error).split())
    network = re.findall(r"<urlopen error (?:\[Errno -?\d+\] )?([^>]+)>", text)
    return network[-1] if network else text[:LONGEST_REASON] or type(error).__name__


def fetch_from_mirror(name: str, root: Path, endpoint: str | None = None) -> bool:
    """Fetch `name` from its mirror to `root`; False if it has none.

    Files that the Hub's own cache holds are taken from there, without a network. Raises what huggingface_hub raises
    when a file cannot be had, and EnvironmentProblem where its md5 is wrong.
    """
    mirrors = source_of(name).mirrors
    for file in mirrors:
        _fetch_hub_file(file, root, endpoint)
    return bool(mirrors)


def _fetch_hub_file(file: HubFile, root: Path, endpoint: str | None) -> None:
    from huggingface_hub import hf_hub_download

    got = Path(
        hf_hub_download(file.repository, file.filename, repo_type="dataset", revision=file.revision, endpoint=endpoint)
    )
    content = read_checked(got, file.md5)
    target = root / file.path
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    part.write_bytes(content)
    part.replace(target)
    if target.name.endswith(".tar.gz"):
        shutil.unpack_archive(target, target.parent, filter="data")


def read_checked(path: Path, digest: str, algorithm: str = "md5") -> bytes:
    """A file's content. Raises EnvironmentProblem naming it if it is missing, truncated or altered."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise EnvironmentProblem(str(path), f"cannot be read ({error.strerror})", REPAIR) from error
    found = hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()
    if found != digest:
        raise EnvironmentProblem(
            str(path),
            f"truncated or altered: {len(content)} bytes with {algorithm} {found}, expected {digest}",
            REPAIR,
        )
    return content


def digest_of(*arrays: NDArray[np.generic]) -> str:
    """sha256 over shapes and little-endian bytes."""
    import numpy as np

    digest = hashlib.sha256()
    for array in arrays:
        little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{array.dtype.kind}{array.shape}".encode() + little.tobytes())
    return digest.hexdigest()
