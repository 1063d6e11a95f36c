"""Downloads: from each data set's home by torchvision, which checks md5 sums, else from a Hub mirror."""

from __future__ import annotations

from pathlib import Path

from benchmark.errors import EnvironmentProblem
from benchmark.spec.data import SAMPLE

LONGEST_REASON = 300  # characters; torchvision's message lists every mirror with its error
PLACES = {
    "mnist": "MNIST/raw/*.gz",
    "cifar10": "cifar-10-batches-py/",
    "cifar100": "cifar-100-python/",
    "fashion-mnist": "FashionMNIST/raw/*.gz",
    "tiny-imagenet": "tiny-imagenet-200.zip",
}

CUT_FROM = {SAMPLE: "cifar100"}  # data sets that are part of another


def fetch(name: str, root: Path) -> None:
    """Put data set `name` under `root`. Raises EnvironmentProblem saying why that failed and what to do."""
    from benchmark.datasets import mirrors

    name = CUT_FROM.get(name, name)

    try:
        try:
            _from_home(name, root)
        except Exception:
            if not mirrors.fetch(name, root):
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
        from benchmark.datasets import tiny_imagenet

        download_url(tiny_imagenet.URL, str(root), md5=tiny_imagenet.ZIP_MD5)
    else:
        home = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
        download_and_extract_archive(home.url, str(root), filename=home.filename, md5=home.tgz_md5)
