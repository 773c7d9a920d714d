"""A server of the part of the Hugging Face hub's API that reading and publishing need; it can drop every third one."""

from __future__ import annotations

import base64
import hashlib
import json
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

TOKEN = "hf_ofthetests"
_LARGE = (".parquet", ".tar", ".png", ".webp")
_ATTRIBUTES = b"*.parquet filter=lfs\n"


@dataclass
class Repo:
    """A dataset. files: path -> (content, whether it is a large one); commits: the paths that each has added."""

    private: bool
    files: dict[str, tuple[bytes, bool]] = field(default_factory=lambda: {".gitattributes": (_ATTRIBUTES, False)})
    commits: list[list[str]] = field(default_factory=list)
    gated: bool = False
    """Whether its owner asks for agreement, which nobody has given."""
    broken: bool = False
    """Whether its files are named, but refused."""


class HubServer(ThreadingHTTPServer):
    """every: which share of requests is dropped, one in so many, some before and some after it is done; 0 for none.
    Uploads are dropped before only: one that has come, and whose answer is lost, has to be sent again by anybody."""

    daemon_threads = True

    def __init__(self, every: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.every = every
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.repos: dict[str, Repo] = {}
        self.large: dict[str, bytes] = {}
        self.uploads: Counter[str] = Counter()
        """sha256 of a large file -> how often it was received."""
        self.requests = self.dropped = 0
        self.unanswered = ""
        """End of a path: the next request for it is done, and not answered."""
        self.lock = threading.Lock()
        self._dice = random.Random(0)

    def drop(self, method: str, path: str) -> str:
        """When the request in hand is to be dropped: "before" it is done, "after" it, or "" for not at all."""
        with self.lock:
            self.requests += 1
            if self.unanswered and path.endswith(self.unanswered):
                self.unanswered = ""
                return "after"
            if not self.every or self.requests % self.every:
                return ""
            self.dropped += 1
            return "before" if method == "PUT" or self._dice.random() < 0.5 else "after"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HubServer

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        drop = self.server.drop(self.command, self.path)
        if drop != "before":
            with self.server.lock:
                status, answer, headers = self._answer(unquote(urlsplit(self.path).path), body)
        if drop:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_HEAD = do_PUT = do_POST = _handle

    def _answer(self, path: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        if large := re.fullmatch(r"/large/(\w+)", path):  # a signed address: it needs no token
            return self._store(large[1], body)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return 401, {"error": "Invalid username or password."}, {}
        if path == "/api/validate-yaml":
            return 200, {"errors": [], "warnings": []}, {}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        found = re.fullmatch(r"(?:/api)?/datasets/([\w.-]+/[\w.-]+?)(\.git)?(?:/(.*))?", path)
        repo = self.server.repos.get(found[1]) if found else None
        if found is None or repo is None:
            return 404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"}
        what = found[3] or ""
        if repo.gated:
            return 403, {"error": "ask for access"}, {"X-Error-Code": "GatedRepo"}
        if what in ("", "revision/main"):
            return 200, {"id": found[1], "private": repo.private, "sha": "0" * 40}, {}
        if what.startswith("revision/"):
            return 404, {"error": "no such revision"}, {"X-Error-Code": "RevisionNotFound"}
        if what.startswith("tree/main"):
            return self._tree(repo, what.removeprefix("tree/main").strip("/"))
        if what.startswith("resolve/main/"):
            return self._part(repo, what.removeprefix("resolve/main/"))
        if what == "paths-info/main":
            asked = parse_qs(body.decode())["paths"]
            return 200, [_entry(name, *repo.files[name]) for name in asked if name in repo.files], {}
        if what == "preupload/main":
            return 200, {"files": [_mode(one["path"]) for one in json.loads(body)["files"]]}, {}
        if what == "info/lfs/objects/batch":
            return 200, {"objects": [self._upload(one) for one in json.loads(body)["objects"]]}, {}
        if what == "commit/main":
            return self._commit(repo, [json.loads(line) for line in body.splitlines()])
        return 404, {"error": f"no such thing: {path}"}, {}

    def _tree(self, repo: Repo, folder: str) -> tuple[int, Any, dict[str, str]]:
        folders = {str(parent) for name in repo.files for parent in PurePosixPath(name).parents} - {"."}
        found: list[dict[str, Any]] = [{"type": "directory", "path": name, "oid": "0"} for name in sorted(folders)]
        found += [_entry(name, *file) for name, file in sorted(repo.files.items())]
        everything = parse_qs(urlsplit(self.path).query).get("recursive", [""])[0].lower() == "true"
        here = PurePosixPath(folder)
        parents = [(one, PurePosixPath(one["path"]).parents) for one in found]
        inside = [one for one, above in parents if here in (above if everything else above[:1])]
        if folder and not inside:
            return 404, {"error": "none"}, {"X-Error-Code": "EntryNotFound"}
        return 200, inside, {}

    def _part(self, repo: Repo, name: str) -> tuple[int, Any, dict[str, str]]:
        if repo.broken:
            return 403, {"error": f"no, {self.server.url}/large/x?signature=secret"}, {}
        first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
        return 206, repo.files[name][0][int(first) : int(last) + 1], {}

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        name = f"{asked['organization']}/{asked['name']}"
        known = {"url": f"{self.server.url}/datasets/{name}"}
        if name in self.server.repos:
            return 409, {"error": "You already created this dataset repo", **known}, {}
        self.server.repos[name] = Repo(private=asked["visibility"] == "private")
        return 200, known, {}

    def _upload(self, asked: dict[str, Any]) -> dict[str, Any]:
        known = {"oid": asked["oid"], "size": asked["size"]}
        if asked["oid"] in self.server.large:
            return known
        return {**known, "actions": {"upload": {"href": f"{self.server.url}/large/{asked['oid']}?signature=secret"}}}

    def _store(self, digest: str, body: bytes) -> tuple[int, Any, dict[str, str]]:
        if hashlib.sha256(body).hexdigest() != digest:
            return 400, {"error": "another sha256"}, {}
        self.server.uploads[digest] += 1
        self.server.large[digest] = body
        return 200, {}, {}

    def _commit(self, repo: Repo, lines: list[dict[str, Any]]) -> tuple[int, Any, dict[str, str]]:
        added = {}
        for line in lines:
            value = line["value"]
            if line["key"] == "lfsFile":
                added[value["path"]] = (self.server.large[value["oid"]], True)
            elif line["key"] == "file":
                added[value["path"]] = (base64.b64decode(value["content"]), False)
        repo.files |= added
        repo.commits.append([*added])
        oid = f"{len(repo.commits):040x}"
        return 200, {"commitUrl": f"{self.server.url}/datasets/me/any/commit/{oid}", "commitOid": oid}, {}


def _mode(path: str) -> dict[str, Any]:
    return {"path": path, "uploadMode": "lfs" if path.endswith(_LARGE) else "regular", "shouldIgnore": False}


def _entry(path: str, content: bytes, large: bool) -> dict[str, Any]:
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": blob}
    if large:
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
    return entry


@contextmanager
def hub_server(*, every: int = 3) -> Iterator[HubServer]:
    """Run the server."""
    server = HubServer(every)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
