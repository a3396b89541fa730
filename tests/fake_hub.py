"""A hub on loopback: folders enter as repositories, and the hub's client reads them as it reads the real one.

How it answers can be changed while it runs: whole, with a status alone, dripping, or never.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = "c" * 40


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeHub

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on the terminal."""

    def do_HEAD(self) -> None:
        self.respond()

    def do_GET(self) -> None:
        self.respond()

    def do_POST(self) -> None:
        """A repository is made, asked what it wants, and given a commit: files small enough to stand in it."""
        said = b"".join(self.body())
        path = unquote(urlsplit(self.path).path)
        if self.server.status != 200:
            return self.answer(self.server.status, b"{}", **self.server.headers)
        if path == "/api/repos/create":
            made = json.loads(said)
            self.server.created.append(made)
            name = f"{made['organization']}/{made['name']}" if made.get("organization") else made["name"]
            return self.answer(200, json.dumps({"url": f"{self.server.url}/{name}", "id": name}).encode())
        if path == "/api/validate-yaml":
            return self.answer(200, b"{}")
        if "/preupload/" in path:
            wanted = [
                {"path": one["path"], "uploadMode": "regular", "shouldIgnore": False}
                for one in json.loads(said)["files"]
            ]
            return self.answer(200, json.dumps({"files": wanted}).encode())
        for line in map(json.loads, said.splitlines()):
            if line["key"] == "file":
                self.server.given[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        commit = {
            "commitUrl": f"{self.server.url}/{'/'.join(path.split('/')[3:5])}/commit/{COMMIT}",
            "commitOid": COMMIT,
            "success": True,
        }
        return self.answer(200, json.dumps(commit).encode())

    def body(self) -> Iterator[bytes]:
        """What was sent, whole or in chunks."""
        if "Content-Length" in self.headers:
            yield self.rfile.read(int(self.headers["Content-Length"]))
            return
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def respond(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if "agent-harness" in path:
            return self.answer(404, b"{}")
        with self.server.lock:
            self.server.asked.append(f"{self.command} {path}")
        if self.server.silent:
            self.server.closing.wait(60)
            self.close_connection = True
            return None
        if self.server.status != 200:
            return self.answer(self.server.status, b"{}", **self.server.headers)
        if self.server.says:
            return self.answer(200, self.server.says)
        if self.server.drips:
            return self.drip()
        parts = path.strip("/").split("/")
        if parts[0] == "api":
            return self.api(parts[1:])
        parts = parts[parts[0] == "datasets" :]
        return self.file("/".join(parts[:2]), "/".join(parts[4:]))

    def api(self, parts: list[str]) -> None:
        name = "/".join(parts[1:3])
        folder = self.server.repositories.get(name)
        if folder is None:
            return self.answer(404, b"{}", X_Error_Code="RepoNotFound")
        if "revision" in parts and parts[-1] not in (COMMIT, "main"):
            return self.answer(404, b"{}", X_Error_Code="RevisionNotFound")
        files = {file.name: file.stat().st_size for file in sorted(folder.iterdir())} | self.server.claimed
        if "tree" in parts:
            rows: Any = [{"type": "file", "oid": name, "path": name, "size": size} for name, size in files.items()]
        elif "auth-check" in parts:
            rows = {}
        else:
            siblings = [{"rfilename": name, "size": size} for name, size in files.items()]
            rows = {"id": name, "sha": COMMIT, "siblings": siblings, "tags": [], "downloads": 0, "likes": 0}
        return self.answer(200, json.dumps(rows).encode(), Content_Type="application/json")

    def file(self, name: str, file: str) -> None:
        path = self.server.repositories.get(name, Path("/none")) / file
        if self.server.gated:
            return self.answer(403, b"{}", X_Error_Code="GatedRepo")
        if not path.is_file():
            return self.answer(404, b"{}", X_Error_Code="EntryNotFound")
        raw = path.read_bytes()
        return self.answer(200, raw, ETag=f'"{hashlib.sha256(raw).hexdigest()}"', X_Repo_Commit=COMMIT)

    def answer(self, code: int, body: bytes, **headers: str) -> None:
        self.send_response(code)
        for name, value in {**headers, "Content_Length": str(len(body))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def drip(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        while not self.server.closing.wait(0.05):
            self.wfile.write(b" ")


class FakeHub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Path] = {}
        self.claimed: dict[str, int] = {}
        """Files that are only said to be there, with their sizes."""
        self.status, self.headers, self.drips, self.silent, self.gated = 200, dict[str, str](), False, False, False
        self.says = b""
        self.created, self.given = list[dict[str, Any]](), dict[str, bytes]()
        """Repositories that were made, and the files of the last commits."""
        self.asked: list[str] = []
        self.lock, self.closing = threading.Lock(), threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gives up is what these tests are about."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def running(monkeypatch: pytest.MonkeyPatch, cache: Path) -> Iterator[FakeHub]:
    """A hub that `huggingface_hub` asks, with a cache of its own; without the file store that serves no loopback."""
    from huggingface_hub import constants

    hub = FakeHub()
    threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub.url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    try:
        yield hub
    finally:
        hub.closing.set()
        hub.shutdown()
        hub.server_close()
