"""Mirrors of data sets on the Hugging Face Hub, for where a data set's home is slow or gone.

A mirror is a file of the data set's own archive in a dataset repository, at one commit. Where the file comes from does
not matter, because its md5 is the one that its home publishes.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmark.datasets.checked import read_checked


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


def fetch(name: str, root: Path, endpoint: str | None = None) -> bool:
    """Fetch `name` from its mirror to `root`; False if it has none.

    Files that the Hub's own cache holds are taken from there, without a network. Raises what huggingface_hub raises
    when a file cannot be had, and EnvironmentProblem where its md5 is wrong.
    """
    files = MIRRORS.get(name, ())
    for file in files:
        _fetch(file, root, endpoint)
    return bool(files)


def _fetch(file: HubFile, root: Path, endpoint: str | None) -> None:
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
