"""A small OpenAI-compatible server on loopback that can be told to misbehave in every way a real one has been seen to.

It is real where it matters: sockets, HTTP/1.1, chunked streams. `script(number, body)` names the behaviour for each
request for a completion, counted from 0; what was asked is kept in `bodies`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[["Handler", dict[str, Any]], None]
MODEL = "tiny"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeServer

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        with suppress(OSError):
            self.server.listing(self, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            number = len(self.server.bodies)
            self.server.bodies.append(body)
            self.server.keys.append(self.headers.get("authorization", ""))
            self.server.flying += 1
            self.server.most_flying = max(self.server.most_flying, self.server.flying)
        try:
            with suppress(OSError):
                self.server.script(number, body)(self, body)
        finally:
            with self.server.lock:
                self.server.flying -= 1

    def begin(self, status: int, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()

    def whole(self, status: int, kind: str, raw: bytes, headers: dict[str, str] | None = None) -> None:
        self.begin(status, kind, {"Content-Length": str(len(raw)), **(headers or {})})
        self.wfile.write(raw)

    def chunk(self, raw: bytes) -> None:
        self.wfile.write(f"{len(raw):x}\r\n".encode() + raw + b"\r\n")
        self.wfile.flush()

    def event(self, value: Any) -> None:
        self.chunk(b"data: " + (value if isinstance(value, bytes) else json.dumps(value).encode()) + b"\n\n")


class FakeServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: Callable[[int, dict[str, Any]], Behaviour] = lambda number, body: say("yes")
        self.listing: Behaviour = lists(MODEL)
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.flying = self.most_flying = 0
        self.lock, self.closing = threading.Lock(), threading.Event()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that drops a connection is what these tests are about."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


@contextmanager
def running() -> Iterator[FakeServer]:
    server = FakeServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        stop(server)


def stop(server: FakeServer) -> None:
    server.closing.set()
    server.shutdown()
    server.server_close()


def lists(*names: str, **more: Any) -> Behaviour:
    rows = [{"id": name, "object": "model", **more} for name in names]
    return lambda handler, _: handler.whole(200, "application/json", json.dumps({"data": rows}).encode())


def status(code: int, text: str = "no", **headers: str) -> Behaviour:
    raw = json.dumps({"error": {"message": text}}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, _: handler.whole(code, "application/json", raw, named)


def raw(kind: str, body: bytes, code: int = 200) -> Behaviour:
    return lambda handler, _: handler.whole(code, kind, body)


def say(
    content: str | None = "yes",
    *,
    finish: str | None = "stop",
    usage: Any = "right",
    model: str = MODEL,
    version: str = "fp_1",
    **fields: Any,
) -> Behaviour:
    """An answer as a stream, letter by letter, or whole where no stream is asked for; `fields` stand beside content."""

    def behave(handler: Handler, body: dict[str, Any]) -> None:
        counts = {"prompt_tokens": 5, "completion_tokens": len(content or "") + 1} if usage == "right" else usage
        head = {"id": "x", "model": model, "system_fingerprint": version}
        if not body.get("stream"):
            choice = {"index": 0, "message": {"content": content, **fields}, "finish_reason": finish}
            answer = {**head, "choices": [choice], "usage": counts}
            return handler.whole(200, "application/json", json.dumps(answer).encode())
        handler.begin(200, "text/event-stream; charset=utf-8", {"Transfer-Encoding": "chunked"})
        said = [dict(zip(fields, letters, strict=True)) for letters in zip(*fields.values(), strict=True)]
        said += [{"content": letter} for letter in content or ""]
        for delta in [{"role": "assistant", "content": ""}, *said]:
            handler.event({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        handler.event({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        handler.event({**head, "choices": [], "usage": counts})
        handler.event(b"[DONE]")
        handler.chunk(b"")

    return behave


def half_a_stream(text: str = "ye", *, ends: bool = False) -> Behaviour:
    """A stream that stops midway: the connection is dropped, or (`ends`) closed as if all was well."""

    def behave(handler: Handler, _: dict[str, Any]) -> None:
        handler.begin(200, "text/event-stream", {"Transfer-Encoding": "chunked"})
        for letter in text:
            handler.event({"model": MODEL, "choices": [{"index": 0, "delta": {"content": letter}}]})
        if ends:
            handler.chunk(b"")
        handler.close_connection = True

    return behave


def never(handler: Handler, _: dict[str, Any]) -> None:
    """No byte, for as long as the server runs."""
    handler.server.closing.wait(30)


def slowly(handler: Handler, _: dict[str, Any]) -> None:
    """A letter now and then, without end."""
    handler.begin(200, "text/event-stream", {"Transfer-Encoding": "chunked"})
    for _ in range(1000):
        handler.event({"model": MODEL, "choices": [{"index": 0, "delta": {"content": "y"}}]})
        if handler.server.closing.wait(0.03):
            return


def stalls(handler: Handler, _: dict[str, Any]) -> None:
    """The beginning of an answer, then nothing."""
    handler.begin(200, "text/event-stream", {"Transfer-Encoding": "chunked"})
    handler.event({"model": MODEL, "choices": [{"index": 0, "delta": {"content": "y"}}]})
    handler.server.closing.wait(30)


def endless(handler: Handler, body: dict[str, Any]) -> None:
    """More than any answer can have."""
    piece = b"x" * (1 << 16)
    if body.get("stream"):
        handler.begin(200, "text/event-stream", {"Transfer-Encoding": "chunked"})
        piece = json.dumps({"choices": [{"delta": {"content": "x" * (1 << 16)}}]}).encode()
    else:
        handler.begin(200, "application/json", {"Transfer-Encoding": "chunked"})
    while not handler.server.closing.is_set():
        handler.event(piece) if body.get("stream") else handler.chunk(piece)


def another_protocol(handler: Handler, _: dict[str, Any]) -> None:
    """What a server of something else says."""
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
    handler.close_connection = True
