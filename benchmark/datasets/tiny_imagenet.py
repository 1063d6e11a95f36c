"""Tiny-ImageNet: 200 classes, 500 training and 50 validation images of 64x64 each. Its test set has no labels, so
papers test on the validation images, and so does this loader.

Read from the zip, whose md5 is checked, or from its unpacked folder, whose files are only counted and decoded: there
are 120,000 of them, with no digests published. The digest of the decoded pixels goes into every record; it is not
pinned here, because JPEG decoders may differ in the last bit.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile, ZipFile

from benchmark.datasets.source import REPAIR, DataSource, digest_of, fetch
from benchmark.protocols.recipe import DATASETS
from benchmark.utils.errors import EnvironmentProblem

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from benchmark.datasets.source import Arrays

CLASSES, PER_CLASS, VALIDATION, SIDE = 200, 500, 10_000, 64
ZIP, FOLDER = "tiny-imagenet-200.zip", "tiny-imagenet-200"
LISTS = ("wnids.txt", "val/val_annotations.txt")

Read = Callable[[str], bytes]
"""Gives the content of a file by its path within the set; raises KeyError or OSError if there is none."""


@DATASETS.register("tiny-imagenet")
class TinyImageNet(DataSource):
    """100000 and 10000 images (3, 64, 64), uint8, 200 classes in the order of their sorted WordNet ids."""

    name = "tiny-imagenet"
    layouts = ((ZIP,), tuple(f"{FOLDER}/{file}" for file in LISTS))
    expected = ZIP
    url = f"http://cs231n.stanford.edu/{ZIP}"
    md5 = "90528d7ca1a48142e341f4ef8d21d0de"  # of 248,100,043 bytes; the sum that public loaders agree on

    def download(self, root: Path) -> None:
        """The zip, from Stanford's course page."""
        from torchvision.datasets.utils import download_url

        download_url(self.url, str(root), md5=self.md5)

    def read(self, root: Path) -> Arrays:
        """Images and labels. Raises EnvironmentProblem naming the file that is missing, truncated or altered."""
        if not self.is_present(root):
            fetch(self.name, root)
        packed, folder = root / ZIP, root / FOLDER
        if not packed.exists():
            return _arrays(lambda name: (folder / name).read_bytes(), str(folder))
        self._check(packed)
        with ZipFile(packed) as archive:
            return _arrays(lambda name: archive.read(f"{FOLDER}/{name}"), str(packed))

    def _check(self, packed: Path) -> None:
        """Raise EnvironmentProblem unless the zip is the published one; it is too large to read at once."""
        with packed.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        if found != self.md5:
            cause = f"truncated or altered: {packed.stat().st_size} bytes with md5 {found}, expected {self.md5}"
            raise EnvironmentProblem(str(packed), cause, REPAIR)


def _arrays(read: Read, where: str) -> Arrays:
    import numpy as np

    wnids = sorted(_text(read, "wnids.txt", where).split())
    if len(wnids) != CLASSES:
        raise EnvironmentProblem(f"{where}/wnids.txt", f"names {len(wnids)} classes, not {CLASSES}", REPAIR)
    names, labels = [], []
    for label, wnid in enumerate(wnids):
        names += [f"train/{wnid}/images/{wnid}_{i}.JPEG" for i in range(PER_CLASS)]
        labels += [label] * PER_CLASS
    lines = [line.split("\t") for line in _text(read, "val/val_annotations.txt", where).splitlines()]
    if len(lines) != VALIDATION or not {line[1] for line in lines} <= set(wnids):
        raise EnvironmentProblem(f"{where}/val/val_annotations.txt", f"does not label {VALIDATION} images", REPAIR)
    train_x = np.stack([_image(read, name, where) for name in names])
    test_x = np.stack([_image(read, f"val/images/{line[0]}", where) for line in lines])
    train_y = np.asarray(labels, np.int64)
    test_y = np.asarray([wnids.index(line[1]) for line in lines], np.int64)
    return train_x, train_y, test_x, test_y, digest_of(train_x, train_y, test_x, test_y)


def _content(read: Read, name: str, where: str) -> bytes:
    try:
        return read(name)
    except (OSError, KeyError, BadZipFile) as error:
        raise EnvironmentProblem(f"{where}/{name}", "is missing or cannot be read", REPAIR) from error


def _text(read: Read, name: str, where: str) -> str:
    return _content(read, name, where).decode("utf-8")


def _image(read: Read, name: str, where: str) -> NDArray[np.uint8]:
    import numpy as np
    from PIL import Image

    try:
        pixels = np.asarray(Image.open(io.BytesIO(_content(read, name, where))).convert("RGB"))  # some are grey
    except OSError as error:
        raise EnvironmentProblem(f"{where}/{name}", f"truncated or altered ({error})", REPAIR) from error
    if pixels.shape != (SIDE, SIDE, 3):
        raise EnvironmentProblem(f"{where}/{name}", f"has shape {pixels.shape}, not {(SIDE, SIDE, 3)}", REPAIR)
    return pixels.transpose(2, 0, 1)
