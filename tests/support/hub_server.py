"""A small Hub on this machine: the requests that the official client makes for dataset repositories, and their faults.

Content is kept as git and LFS keep it (sha1 of blobs, sha256 of large files), every commit is a whole tree, and a
commit whose parent is not the last one is refused with 412, as the real Hub does. `Hub.faults` makes answers fail.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_of_this_test"
PAGE = 12  # files of a listing in one answer


def git_blob(content: bytes) -> str:
    """What `git hash-object` prints."""
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def pointer(content: bytes) -> bytes:
    """The text that git holds in place of a large file."""
    digest = hashlib.sha256(content).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(content)}\n".encode()


@dataclass
class Fault:
    """Spoil the next `times` answers to `method` requests whose path matches; `skip` lets some pass first.

    Kinds: a status code; `cut` (half the body, then the connection ends); `corrupt` (one bit flipped); `short` and
    `long` (a length that the body does not have); `stall` (no answer at all); `lost` (done, but the answer is not
    sent); `no-next` (a listing whose further pages are not named); or a function called before the answer.
    """

    method: str
    path: str
    kind: str | int | Callable[[], None]
    times: int = 1
    skip: int = 0


@dataclass
class Repository:
    """Commits in order, each with every file by path."""

    commits: list[tuple[str, dict[str, bytes]]] = field(default_factory=list)

    @property
    def files(self) -> dict[str, bytes]:
        """Files at the last commit."""
        return self.commits[-1][1]

    def add(self, files: dict[str, bytes], message: str = "") -> str:
        """A commit that adds or replaces files; its sha."""
        tree = {**(self.files if self.commits else {}), **files}
        text = json.dumps([len(self.commits), message, {path: git_blob(c) for path, c in tree.items()}], sort_keys=True)
        self.commits.append((hashlib.sha1(text.encode()).hexdigest(), tree))
        return self.commits[-1][0]


class Hub:
    """The server: `with Hub() as hub`, then `hub.url`. `log` holds `METHOD path` of every request."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.faults: list[Fault] = []
        self.log: list[str] = []
        self.guard = threading.RLock()
        self.released = threading.Event()
        hub = self

        class Bound(_Handler):
            """The handler of this very hub."""

        Bound.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Hub:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def fault(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets, counted down."""
        with self.guard:
            for fault in self.faults:
                if fault.times and fault.method == method and re.search(fault.path, path):
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    return fault
        return None

    def requests(self, pattern: str) -> list[str]:
        """Logged requests that match."""
        return [line for line in self.log if re.search(pattern, line)]


def is_large(path: str) -> bool:
    """What a dataset repository's .gitattributes sends to LFS."""
    return path.endswith((".npz", ".safetensors"))


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes: else each answer waits 40 ms for an ACK
    fault: Fault | None = None

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def handle_one_request(self) -> None:
        """A client that went away is no news."""
        try:
            super().handle_one_request()
        except (ConnectionError, BrokenPipeError):
            self.close_connection = True

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        url = urlsplit(self.path)
        self.route, self.query = url.path, parse_qs(url.query)
        self.hub.log.append(f"{self.command} {self.path}")
        self.fault = self.hub.fault(self.command, self.path)
        self.body = self._read_body()
        if self.fault and isinstance(self.fault.kind, int):
            self._send(self.fault.kind, b'{"error": "injected"}')
        elif self.fault and self.fault.kind == "stall":
            self.hub.released.wait(30)
            self.close_connection = True
        else:
            if self.fault and callable(self.fault.kind):
                self.fault.kind()
            with self.hub.guard:
                done = self._routed()
            if self.fault and self.fault.kind == "lost":
                self.close_connection = True
            else:
                self._send(*done)

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        kind = self.fault.kind if self.fault else None
        length = len(body)
        if kind == "corrupt":
            middle = len(body) // 2
            body = body[:middle] + bytes([body[middle] ^ 4]) + body[middle + 1 :]
        if kind == "cut":
            body = body[: len(body) // 2]
        if kind in ("short", "long"):
            length += -3 if kind == "short" else 3
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        if kind in ("cut", "short", "long"):
            self.wfile.flush()
            self.close_connection = True

    def _json(self, value: Any, headers: dict[str, str] | None = None, status: int = 200) -> Any:
        return status, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})}

    def _error(self, status: int, code: str) -> Any:
        return status, b"{}", {"X-Error-Code": code, "X-Error-Message": code}

    def _routed(self) -> Any:
        allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}" or self.route.startswith("/large/")
        if self.command in ("POST", "PUT") and not allowed:
            return self._error(401, "Unauthorized")
        for method, pattern, action in _ROUTES:
            if self.command in method.split() and (found := re.fullmatch(pattern, self.route)):
                groups = [unquote(group) if group else group for group in found.groups()]
                return getattr(self, action)(*groups)
        return self._error(404, "NoSuchRoute")

    def _at(self, name: str, revision: str | None) -> Any:
        """(commit, files, None), or an error in the third place."""
        repository = self.hub.repositories.get(name)
        if repository is None:
            return None, None, self._error(404, "RepoNotFound")
        if revision in (None, "main"):
            return (*repository.commits[-1], None)
        for commit, files in repository.commits:
            if commit == revision:
                return commit, files, None
        return None, None, self._error(404, "RevisionNotFound")

    def create(self) -> Any:
        wanted = json.loads(self.body)
        name = f"{wanted['organization']}/{wanted['name']}"
        if name in self.hub.repositories:
            return self._json({"url": f"{self.hub.url}/datasets/{name}"}, status=409)
        self.hub.repositories[name] = Repository()
        self.hub.repositories[name].add({".gitattributes": b"*.npz filter=lfs diff=lfs merge=lfs -text\n"})
        return self._json({"url": f"{self.hub.url}/datasets/{name}"})

    def check_card(self) -> Any:
        return self._json({"errors": [], "warnings": []})

    def info(self, name: str, revision: str | None = None) -> Any:
        commit, files, error = self._at(name, revision)
        return error or self._json({"id": name, "sha": commit, "siblings": [{"rfilename": path} for path in files]})

    def tree(self, name: str, revision: str) -> Any:
        _, files, error = self._at(name, revision)
        if error:
            return error
        start = int(self.query.get("cursor", ["0"])[0])
        entries = [self._entry(path, content) for path, content in sorted(files.items())]
        folders = sorted({path.rpartition("/")[0] for path in files} - {""})
        entries += [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in folders]
        headers = {}
        if start + PAGE < len(entries) and not (self.fault and self.fault.kind == "no-next"):
            following = f"{self.hub.url}{self.route}?recursive=True&cursor={start + PAGE}"
            headers["Link"] = f'<{following}>; rel="next"'
        return self._json(entries[start : start + PAGE], headers)

    def _entry(self, path: str, content: bytes) -> dict[str, Any]:
        entry = {"type": "file", "path": path, "oid": git_blob(content), "size": len(content)}
        if is_large(path):
            text = pointer(content)
            digest = hashlib.sha256(content).hexdigest()
            entry |= {"oid": git_blob(text), "lfs": {"oid": digest, "size": len(content), "pointerSize": len(text)}}
        return entry

    def preupload(self, name: str, _revision: str) -> Any:
        files = []
        for wanted in json.loads(self.body)["files"]:
            known = self.hub.repositories[name].files.get(wanted["path"])
            mode = "lfs" if is_large(wanted["path"]) else "regular"
            entry = {"path": wanted["path"], "uploadMode": mode, "shouldIgnore": False}
            files.append(entry | ({"oid": self._entry(wanted["path"], known)["oid"]} if known is not None else {}))
        return self._json({"files": files})

    def batch(self, _name: str) -> Any:
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            answer = {"oid": wanted["oid"], "size": wanted["size"]}
            if wanted["oid"] not in self.hub.large:
                url = f"{self.hub.url}/large/{wanted['oid']}"
                answer["actions"] = {"upload": {"href": url}, "verify": {"href": f"{self.hub.url}/verify"}}
            objects.append(answer)
        return self._json({"transfer": "basic", "objects": objects})

    def upload(self, digest: str) -> Any:
        if hashlib.sha256(self.body).hexdigest() != digest:
            return self._error(400, "BadDigest")
        self.hub.large[digest] = self.body
        return self._json({})

    def verify(self) -> Any:
        wanted = json.loads(self.body)
        there = len(self.hub.large.get(wanted["oid"], b"")) == wanted["size"]
        return self._json({}, status=200 if there else 404)

    def commit(self, name: str, _branch: str) -> Any:
        lines = [json.loads(line) for line in self.body.splitlines()]
        repository = self.hub.repositories[name]
        if lines[0]["value"].get("parentCommit") != repository.commits[-1][0]:
            return self._error(412, "PreconditionFailed")
        files = {}
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif value["oid"] not in self.hub.large:
                return self._error(400, "LfsObjectMissing")
            else:
                files[value["path"]] = self.hub.large[value["oid"]]
        made = repository.add(files, lines[0]["value"]["summary"])
        return self._json({"commitUrl": f"{self.hub.url}/datasets/{name}/commit/{made}", "commitOid": made})

    def resolve(self, name: str, revision: str, path: str) -> Any:
        commit, files, error = self._at(name, revision)
        if error or path not in files:
            return error or self._error(404, "EntryNotFound")
        content = files[path]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{git_blob(content)}"'}
        if is_large(path):
            digest = hashlib.sha256(content).hexdigest()
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
            self.hub.large[digest] = content
            # Another host than ours, as the real Hub's storage is: the client follows redirects within one host only.
            elsewhere = self.hub.url.replace("127.0.0.1", "localhost")
            return 302, b"", headers | {"Location": f"{elsewhere}/large/{digest}"}
        return 200, content, headers

    def download(self, digest: str) -> Any:
        return 200, self.hub.large[digest], {"ETag": f'"{digest}"'}


_NAME = r"([^/]+/[^/]+)"
_ROUTES = [
    ("POST", r"/api/repos/create", "create"),
    ("POST", r"/api/validate-yaml", "check_card"),
    ("GET", rf"/api/datasets/{_NAME}", "info"),
    ("GET", rf"/api/datasets/{_NAME}/revision/([^/]+)", "info"),
    ("GET", rf"/api/datasets/{_NAME}/tree/([^/]+)", "tree"),
    ("POST", rf"/api/datasets/{_NAME}/preupload/([^/]+)", "preupload"),
    ("POST", rf"/api/datasets/{_NAME}/commit/([^/]+)", "commit"),
    ("POST", rf"/datasets/{_NAME}\.git/info/lfs/objects/batch", "batch"),
    ("PUT", r"/large/([0-9a-f]{64})", "upload"),
    ("GET HEAD", r"/large/([0-9a-f]{64})", "download"),
    ("POST", r"/verify", "verify"),
    ("GET HEAD", rf"/datasets/{_NAME}/resolve/([^/]+)/(.+)", "resolve"),
]
