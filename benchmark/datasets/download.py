"""Mirrors of data sets on the Hugging Face Hub, for where a data set's home is slow or gone.

A mirror is a file of the data set's own archive in a dataset repository, at one commit. Where the file comes from does
not matter, because its md5 is the one that its home publishes.

Files that are used only if they are what was published.

Downloads: from each data set's home by torchvision, which checks md5 sums, else from a Hub mirror.

Making sure a protocol's data is there before any worker starts.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.datasets.paths import data_root, needs_download
from benchmark.protocols import Protocol
from benchmark.protocols.recipe import SAMPLE
from benchmark.utils.errors import EnvironmentProblem

REPAIR = "Delete that file and run again to make it anew, or set LOTTERYBENCH_DATA to an intact copy"
ByteArrays = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64], str]
"""Training images (n, channels, h, w), labels (n,), test images, labels, and the digest of all four."""


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


LONGEST_REASON = 300  # characters; torchvision's message lists every mirror with its error
PLACES = {
    "mnist": "MNIST/raw/*.gz",
    "cifar10": "cifar-10-batches-py/",
    "cifar100": "cifar-100-python/",
    "fashion-mnist": "FashionMNIST/raw/*.gz",
    "tiny-imagenet": "tiny-imagenet-200.zip",
}

CUT_FROM = {SAMPLE: "cifar100"}  # data sets that are part of another


@dataclass
class Home:
    """Where a data set's archive comes from, and its md5."""

    url: str
    md5: str


# 248,100,043 bytes; the sum that public loaders agree on.
TINY_IMAGENET = Home("http://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de")


def fetch(name: str, root: Path) -> None:
    """Put data set `name` under `root`. Raises EnvironmentProblem saying why that failed and what to do."""
    name = CUT_FROM.get(name, name)

    try:
        try:
            _from_home(name, root)
        except Exception:
            if not fetch_from_mirror(name, root):
                raise
    except Exception as error:  # download libraries raise many kinds; all mean that the data set is not there
        reason = " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__
        raise EnvironmentProblem(
            f"data set {name} under {root}",
            f"it is not there and could not be downloaded ({reason})",
            f"Set LOTTERYBENCH_DATA to a folder that holds {PLACES[name]}, or connect to the network",
        ) from error


def _from_home(name: str, root: Path) -> None:
    from torchvision.datasets import CIFAR10, CIFAR100, MNIST, FashionMNIST
    from torchvision.datasets.utils import download_and_extract_archive, download_url

    if name in ("mnist", "fashion-mnist"):
        {"mnist": MNIST, "fashion-mnist": FashionMNIST}[name](str(root), download=True)
    elif name == "tiny-imagenet":
        download_url(TINY_IMAGENET.url, str(root), md5=TINY_IMAGENET.md5)
    else:
        home = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
        download_and_extract_archive(home.url, str(root), filename=home.filename, md5=home.tgz_md5)


@dataclass(frozen=True)
class HubFile:
    """One file of a dataset repository. `revision` is a commit (40 hex digits): branches move, commits do not.

    `path` says where the file goes under the data root; an archive (.tar.gz) is unpacked beside it.
    """

    repository: str
    revision: str
    filename: str
    md5: str
    path: str

    def __post_init__(self) -> None:
        if len(self.revision) != 40 or not set(self.revision) <= set("0123456789abcdef"):
            raise ValueError(f"revision '{self.revision}' of {self.repository} is no commit of 40 hex digits")


# Empty: no repository and commit could be checked from where this was written, and a made-up one helps nobody.
# To add one: HubFile("owner/name", "<commit>", "cifar-10-python.tar.gz", CIFAR10.tgz_md5, "cifar-10-python.tar.gz").
MIRRORS: dict[str, tuple[HubFile, ...]] = {}


def fetch_from_mirror(name: str, root: Path, endpoint: str | None = None) -> bool:
    """Fetch `name` from its mirror to `root`; False if it has none.

    Files that the Hub's own cache holds are taken from there, without a network. Raises what huggingface_hub raises
    when a file cannot be had, and EnvironmentProblem where its md5 is wrong.
    """
    files = MIRRORS.get(name, ())
    for file in files:
        _fetch_hub_file(file, root, endpoint)
    return bool(files)


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


def obtain_data(protocol: Protocol) -> str | None:
    """Fetch the protocol's data if it is missing; the reason if that failed."""
    root = data_root()
    if not needs_download(protocol.data.name, root):
        return None

    try:
        fetch(protocol.data.name, root)
    except EnvironmentProblem as problem:
        return str(problem)
    return None
