"""One dataset repository, through the official client: what it holds at a commit, its files, and new commits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import BadInput, EnvironmentProblem, LotterybenchError
from benchmark.hub.failures import AGAIN, Outrun, explained, short
from benchmark.hub.listing import Listing, RemoteFile, listing_from, load_listing, load_name, save_listing, save_name
from benchmark.limited import read_limited

if TYPE_CHECKING:
    from huggingface_hub import HfApi


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
