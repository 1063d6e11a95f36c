"""One dataset repository, through the official client: its files at a commit, downloads, new commits.

A commit never changes, so a listing is kept once it was read whole. A request that fails ends in an error of this
suite's, with cause and fix; one that may pass the next time is tried again.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from benchmark.sharing.integrity import blob_id
from benchmark.utils.errors import BadInput, EnvironmentProblem, LotterybenchError
from benchmark.utils.files import MIB, read_limited, read_text_limited, sha256

if TYPE_CHECKING:
    from huggingface_hub import HfApi


LONGEST_REASON = 200  # characters
MOST_FAILURES = 4
AGAIN = "Run the same command again; it goes on where it stopped"
Answer = TypeVar("Answer")
pause = time.sleep


class Outrun(Exception):
    """Another writer committed first."""


class Unreachable(EnvironmentProblem):
    """A request failed in a way that may pass: no connection, no answer in time, a server's error."""


class Patience:
    """Tries again what was unreachable, a few times with growing pauses; progress makes it fresh again."""

    def __init__(self) -> None:
        self.failures = 0

    def after(self, failure: Unreachable) -> None:
        """Pause before the next attempt: 1 s, 2 s, 4 s, 8 s. Raises the failure when there were enough."""
        self.failures += 1
        if self.failures > MOST_FAILURES:
            raise failure
        pause(2.0 ** (self.failures - 1))

    def __call__(self, request: Callable[[], Answer]) -> Answer:
        """What `request` gives, in the end. Raises Unreachable."""
        while True:
            try:
                return request()
            except Unreachable as failure:
                self.after(failure)


def explained(error: Exception, thing: str) -> EnvironmentProblem:
    """What the client raised while doing `thing`; Unreachable if it may pass."""
    from huggingface_hub import errors

    if isinstance(error, errors.OfflineModeIsEnabled) or isinstance(error.__cause__, errors.OfflineModeIsEnabled):
        cause = "it is not in the cache, and HF_HUB_OFFLINE is set"
        return EnvironmentProblem(thing, cause, "Unset HF_HUB_OFFLINE once to download it")
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    if status in (401, 403):
        fix = "Log in with `hf auth login`, or set HF_TOKEN to a token with the right to do this"
        return EnvironmentProblem(thing, f"you may not, or it is not there (HTTP {status})", fix)
    if status is not None and status < 500 and status not in (408, 429):
        return EnvironmentProblem(thing, f"the Hub answered HTTP {status}", "Check the name and HF_ENDPOINT")
    if status is not None:
        return Unreachable(thing, f"the Hub answered HTTP {status}", AGAIN)
    reason = error.__cause__ or error
    return Unreachable(thing, f"{type(reason).__name__}: {short(reason)}", AGAIN)


def short(error: BaseException) -> str:
    """An error's own words, in one line of bounded length."""
    return " ".join(str(error).split())[:LONGEST_REASON] or type(error).__name__


MOST_FILES = 200_000
_HEX40, _HEX64 = re.compile(r"[0-9a-f]{40}", re.ASCII), re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class RemoteFile:
    """One file. `blob_id`: git's sha1 of the content, or of its pointer where `sha256` (large files) is given."""

    path: str
    size: int
    blob_id: str
    sha256: str | None

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or type(self.size) is not int or self.size < 0:
            raise ValueError(f"a listed file without path or size: {str(self.path)[:100]!r}")
        if not _HEX40.fullmatch(self.blob_id) or not (self.sha256 is None or _HEX64.fullmatch(self.sha256)):
            raise ValueError(f"'{self.path[:100]}' is listed without a digest")

    def holds(self, content: bytes) -> bool:
        """Whether `content` is this file's, by its size and digest."""
        if len(content) != self.size:
            return False
        return sha256(content) == self.sha256 if self.sha256 else blob_id(content) == self.blob_id

    def is_like(self, size: int, sha: str, blob: str) -> bool:
        """The same question about a file whose digests are known."""
        return size == self.size and (sha == self.sha256 if self.sha256 else blob == self.blob_id)


@dataclass(frozen=True)
class Listing:
    """Every file of a repository at `commit`, by path."""

    commit: str
    files: Mapping[str, RemoteFile]


def listing_from(commit: str, entries: Iterable[Any]) -> Listing:
    """A listing of what the client gives. Raises ValueError for an entry that makes no sense, or for too many."""
    files: dict[str, RemoteFile] = {}
    for entry in entries:
        if not hasattr(entry, "blob_id"):
            continue  # a folder
        large = entry.lfs
        size, sha = (large.size, str(large.sha256)) if large is not None else (entry.size, None)
        files[entry.path] = RemoteFile(entry.path, size, str(entry.blob_id), sha)
        if len(files) > MOST_FILES:
            raise ValueError(f"it holds more than {MOST_FILES:,} files")
    return Listing(commit, files)


def _folder(repository: str) -> Path:
    from huggingface_hub import cached_assets_path

    return cached_assets_path("lotterybench", namespace=repository, subfolder="listings")


def _keep(path: Path, text: str) -> None:
    """Keep a note. Not being able to is no failure: it only saves requests."""
    with suppress(OSError), tempfile.NamedTemporaryFile("w", dir=path.parent, encoding="utf-8", delete=False) as file:
        file.write(text)
        file.close()
        Path(file.name).replace(path)


def save_listing(repository: str, listing: Listing) -> None:
    """Keep a listing for the next run, and for offline use."""
    rows = [asdict(file) for _, file in sorted(listing.files.items())]
    _keep(_folder(repository) / f"{listing.commit}.json", json.dumps(rows))


def load_listing(repository: str, commit: str) -> Listing | None:
    """A listing kept before; None if there is none or it is damaged."""
    try:
        rows = json.loads(read_text_limited(_folder(repository) / f"{commit}.json", 64 * MIB))
        files = [RemoteFile(**row) for row in rows]
    except (BadInput, OSError, ValueError, TypeError, RecursionError):
        return None
    return Listing(commit, {file.path: file for file in files})


def save_name(repository: str, name: str, commit: str) -> None:
    """Keep what a branch or tag named."""
    with suppress(OSError):
        _keep(_folder(repository) / f"{quote(name, safe='')}.name", commit)


def load_name(repository: str, name: str) -> str | None:
    """The commit that a branch or tag named when it was last asked for; None if it never was."""
    try:
        commit = read_text_limited(_folder(repository) / f"{quote(name, safe='')}.name", 100)
    except (BadInput, OSError):
        return None
    return commit if _HEX40.fullmatch(commit) else None


SHA = re.compile(r"[0-9a-f]{40}", re.ASCII)
ANSWER_SECONDS = 120.0  # the client waits for ever unless told otherwise; large commits take the Hub a while
DOWNLOADS = 8  # at once


@dataclass(frozen=True)
class Fetched:
    """A file of the repository in the client's cache, found to be what the listing says."""

    file: RemoteFile
    path: Path


class Remote:
    """One dataset repository. Every method raises EnvironmentProblem, or BadInput for a name that cannot be."""

    def __init__(self, repository: str, endpoint: str | None = None) -> None:
        import huggingface_hub
        from huggingface_hub.utils import logging
        from huggingface_hub.utils.tqdm import disable_progress_bars

        self.repository, self.endpoint = repository, endpoint
        disable_progress_bars()  # ours count files; elsewhere than on a terminal there are none
        logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # what goes wrong is said once, by us
        huggingface_hub.set_client_factory(_impatient)
        self._api: HfApi = huggingface_hub.HfApi(endpoint=endpoint, library_name="lotterybench")
        self.endpoint = self._api.endpoint

    @property
    def offline(self) -> bool:
        """Whether HF_HUB_OFFLINE forbids every request."""
        from huggingface_hub import constants

        return constants.is_offline_mode()

    def exists(self) -> bool:
        """Whether the repository is there and may be read."""
        from huggingface_hub.errors import RepositoryNotFoundError

        with self._spoken("look for"):
            try:
                self._api.repo_info(self.repository, repo_type="dataset")
            except RepositoryNotFoundError:
                return False
            return True

    def create(self, private: bool) -> None:
        """Make the repository, unless somebody was faster."""
        with self._spoken("create"):
            self._api.create_repo(self.repository, repo_type="dataset", private=private or None, exist_ok=True)

    def resolve(self, name: str) -> str:
        """The commit (40 hex digits) that a branch, tag or commit names now; offline, that it last named here."""
        if SHA.fullmatch(name):
            return name
        if self.offline:
            if known := load_name(self.repository, name):
                return known
            raise EnvironmentProblem(
                f"revision '{name}' of {self.repository}",
                "is not in the cache, and HF_HUB_OFFLINE is set",
                "Give a commit that was pulled before, or unset HF_HUB_OFFLINE",
            )
        with self._spoken("read"):
            commit = str(self._api.repo_info(self.repository, repo_type="dataset", revision=name).sha)
            if not SHA.fullmatch(commit):
                raise ValueError(f"its commit is {commit[:60]!r}")
        save_name(self.repository, name, commit)
        return commit

    def listing(self, commit: str) -> Listing:
        """Every file at a commit, with size and digest. Read from the cache if it was read before."""
        if known := load_listing(self.repository, commit):
            return known
        with self._spoken("list"):
            info = self._api.repo_info(self.repository, repo_type="dataset", revision=commit)
            entries = self._api.list_repo_tree(
                self.repository, recursive=True, revision=commit, repo_type="dataset", expand=False
            )
            listing = listing_from(commit, entries)
            # Two answers of the Hub name the files. A page that got lost would look like files that are not there.
            if missing := sorted(
                {str(s.rfilename) for s in getattr(info, "siblings", None) or ()} - set(listing.files)
            ):
                raise ValueError(f"its list of files is incomplete: '{missing[0]}' is not in it")
        save_listing(self.repository, listing)
        return listing

    def fetch(self, files: Sequence[RemoteFile], commit: str, fetched: Callable[[Fetched], None]) -> None:
        """Download files of a commit into the client's cache; `fetched` is called, in this thread, for each.

        Files that the cache holds are not downloaded again, so a broken fetch goes on where it stopped.
        """
        pool = ThreadPoolExecutor(DOWNLOADS, thread_name_prefix="download")
        try:
            for got in pool.map(lambda file: self._fetch(file, commit), files):
                fetched(got)
        finally:
            pool.shutdown(cancel_futures=True)

    def _fetch(self, file: RemoteFile, commit: str) -> Fetched:
        for force in (False, True):
            with self._spoken(f"download {file.path} from"):
                path = Path(self._download(file.path, commit, force))
            try:
                if file.holds(read_limited(path, file.size)):
                    return Fetched(file, path)
            except BadInput:
                pass  # longer than listed: as wrong as any other content
            _forget(path)
            if self.offline:
                break
        raise EnvironmentProblem(
            f"{file.path} of {self.repository}",
            "what was downloaded is not what the listing of that commit says (cut, or altered on the way)",
            AGAIN,
        )

    def _download(self, path: str, commit: str, force: bool) -> str:
        from huggingface_hub import hf_hub_download

        return hf_hub_download(
            self.repository,
            path,
            repo_type="dataset",
            revision=commit,
            endpoint=self.endpoint,
            force_download=force,
            library_name="lotterybench",
        )

    def commit(self, files: Mapping[str, bytes], parent: str, message: str) -> str:
        """Add files in one commit on top of `parent`; the new commit. Raises Outrun if `parent` is not the last."""
        from huggingface_hub import CommitOperationAdd
        from huggingface_hub.errors import HfHubHTTPError

        with self._spoken("commit to"):
            try:
                operations = [CommitOperationAdd(path_in_repo=path, path_or_fileobj=c) for path, c in files.items()]
                done = self._api.create_commit(
                    self.repository,
                    operations,
                    commit_message=message,
                    repo_type="dataset",
                    revision="main",
                    parent_commit=parent,
                )
            except HfHubHTTPError as error:
                if error.response.status_code in (409, 412):
                    raise Outrun from error
                raise
            return str(done.oid)

    @contextmanager
    def _spoken(self, doing: str) -> Iterator[None]:
        """Every way in which a request can fail, in one sentence."""
        from huggingface_hub import errors

        try:
            yield
        except (Outrun, LotterybenchError):
            raise
        except errors.HFValidationError as error:
            raise BadInput(f"repository '{self.repository}'", short(error), "Write owner/name") from error
        except errors.RevisionNotFoundError as error:
            raise BadInput(
                self.repository, "has no such revision", "Give one of its commits, or leave it out"
            ) from error
        except Exception as error:  # the client raises many kinds, and raw ones where an answer makes no sense
            raise explained(error, f"cannot {doing} {self.repository} at {self.endpoint}") from error


def _impatient() -> Any:
    """The client's own HTTP client, with an end to its patience. There is no public way to ask for that, and most of
    its calls say `timeout=None` themselves."""
    from huggingface_hub.utils._http import default_client_factory

    def hurry(request: Any) -> None:
        waits = request.extensions.get("timeout", {})
        for part in ("connect", "read", "write", "pool"):
            if waits.get(part) is None:
                waits[part] = ANSWER_SECONDS
        request.extensions["timeout"] = waits

    client = default_client_factory()
    client.event_hooks["request"].append(hurry)
    return client


def _forget(path: Path) -> None:
    """Remove a wrong file from the client's cache: the name in the snapshot and the blob behind it."""
    blob = path.resolve()
    path.unlink(missing_ok=True)
    if blob.parent.name == "blobs":
        blob.unlink(missing_ok=True)
