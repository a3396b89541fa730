"""One exchange with an OpenAI-compatible server: a request body enters, what was said leaves, within every limit.

Nothing that arrives is trusted: bodies are bounded, every wait has a deadline, each field is looked at before it is
used, and what stands in an error is one printable line without the key. What is wrong with one attempt is a `Fault`;
what is wrong with the server, the key or the model is an EngineError.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import json
import math
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, TypeVar

import httpx

from stages.core.errors import EngineError
from stages.core.fingerprint import plain
from stages.core.run.endpoint import KEY_ENV, Address, EndpointSettings
from stages.core.sampling import Finish
from stages.policy.engines.endpoint import secret

OPENING, CLOSING = "<think>", "</think>"
"""How models write their reasoning where no server takes it apart."""
LONGEST_LINE = 1 << 20
"""Bytes of one event of a stream, and of an answer beyond its tokens."""
BYTES_PER_TOKEN = 4096
"""Of a stream, in which each token may come in an event of its own."""
LETTERS_PER_TOKEN = 128
"""Of a text: the longest tokens of known vocabularies have as many."""
PATIENCE_S = 30.0
"""Longest wait for a list of models."""
_SOME, _LISTED_BYTES = 1 << 16, 1 << 24
_T = TypeVar("_T")


@dataclass(frozen=True)
class Server:
    """Who is asked, within which limits, and the key that nobody else may see."""

    address: Address
    settings: EndpointSettings
    key: str = field(default="", repr=False)

    def shown(self, text: str, most: int = 200) -> str:
        """Return at most so many characters of what it said, in one line without control characters and the key."""
        text = secret.out_of_error(text, self.key)[: 8 * most]
        line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
        return line if len(line) <= most else line[: most - 1] + "…"

    def plain(self, said: Mapping[str, Any]) -> dict[str, Any]:
        """Return the first plain values of a map that it sent, fit to be written down."""
        flat = [(name, value) for name, value in said.items() if isinstance(value, str | int | float | bool)]
        return {self.shown(name, 60): self.shown(v) if isinstance(v, str) else plain(v) for name, v in flat[:20]}

    def without_key(self, text: str) -> str:
        """Return an answer in which the key is blotted out."""
        return secret.out_of_answer(text, self.key)


class Fault(Exception):
    """What went wrong with one attempt."""

    def __init__(self, finish: Finish, told: str, *, again: bool = True, wait_s: float | None = None) -> None:
        super().__init__(told)
        self.finish, self.told = finish, told
        self.again = again
        """Whether asking again can help."""
        self.wait_s = wait_s
        """Seconds that the server asks to wait before anything else is sent; None where it says nothing."""


@dataclass
class Answer:
    """What a server said, filled in as it arrives: after a fault it holds what had come until then."""

    content: list[str] = field(default_factory=list)
    reasoning: list[str] = field(default_factory=list)
    letters: int = 0
    """Of content and reasoning so far."""
    finish_reason: str = ""
    """As the server gave it; empty where it has not."""
    usage: Mapping[str, Any] = field(default_factory=dict)
    """As the server gave it: to be checked."""
    model: str = ""
    """The model that the server says answered."""
    version: str = ""
    """`system_fingerprint`."""

    def completion(self, tags: tuple[str, str]) -> str:
        """The text with its reasoning in exactly one pair of `tags` before it, whichever way the server sent that.

        The closing tag is missing where the reasoning never came to its end.
        """
        said, thought = _whole("".join(self.content)), _whole("".join(self.reasoning))
        thought = thought.replace(OPENING, "").replace(CLOSING, "").strip()
        before, closed, after = said.partition(CLOSING)
        begins = before.lstrip().startswith(OPENING)
        if begins or (closed and not thought):  # inline, or behind an opening that the server's template had written
            inline = before.lstrip().removeprefix(OPENING).strip()
            thought = "\n".join(dict.fromkeys(part for part in (thought, inline) if part))
            said = after.lstrip()
            ended = bool(closed)
        elif thought:
            said = said.lstrip()
            ended = bool(said) or self.finish_reason == "stop"
        else:
            return said
        return f"{tags[0]}{thought}{tags[1] if ended else ''}{said}"


def client_of(server: Server) -> httpx.AsyncClient:
    """Return the connections to a server; raises EngineError for an address or a key that cannot be used.

    A server on this machine is asked past any proxy; nothing is followed to another address, which would get the key.
    """
    settings = server.settings
    waits = httpx.Timeout(None, connect=settings.connect_s, write=settings.idle_s)  # the other waits: `within`
    headers = {"accept-encoding": "identity"} | ({"authorization": f"Bearer {server.key}"} if server.key else {})
    most = httpx.Limits(max_connections=settings.concurrency + 1, max_keepalive_connections=settings.concurrency)
    return httpx.AsyncClient(headers=headers, timeout=waits, limits=most, trust_env=not server.address.local)


def key_of(settings: EndpointSettings) -> str:
    """Return the key, "" where there is none; raises EngineError, which never shows it, for one that cannot be sent."""
    key = os.environ.get(settings.key_env, "").strip()
    if not key and settings.key_env != KEY_ENV:
        hint = f"export {settings.key_env}=…, then run the same command"
        raise EngineError(f"the environment variable {settings.key_env} holds no key", hint=hint)
    if not key.isascii() or not key.isprintable() or " " in key:
        hint = "write it again, without quotes and line breaks"
        raise EngineError(f"the key in the environment variable {settings.key_env} cannot be sent", hint=hint)
    return key


async def listed(client: httpx.AsyncClient, server: Server) -> dict[str, dict[str, Any]]:
    """Return the models that a server lists, by name; empty where it lists none. Raises as `exchange` does."""
    waits = {name: min(getattr(server.settings, name), PATIENCE_S) for name in ("first_s", "idle_s", "deadline_s")}
    server = replace(server, settings=replace(server.settings, **waits))
    async with opened(client, server, "GET", "/models") as response:
        if response.status_code in (404, 405, 501):
            return {}
        if response.status_code != 200:
            raise await refused(response, server)
        raw = await bounded(response, server, _LISTED_BYTES)
    try:
        found = json.loads(raw)
        return {row["id"]: row for row in found["data"]}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        kind = server.shown(response.headers.get("content-type", "") or "no known type", 60)
        what = f"{server.address.url} answers, but not as an OpenAI-compatible server ({kind})"
        raise EngineError(what, hint="check the URL: it usually ends in /v1") from error


async def exchange(client: httpx.AsyncClient, server: Server, body: Mapping[str, Any], answer: Answer) -> None:
    """Post one chat completion and fill `answer` from a stream or a whole body, whichever comes.

    Raises Fault for what is wrong with this attempt and EngineError for what would be wrong with each.
    """
    max_tokens = int(body.get("max_tokens") or body["max_completion_tokens"])
    async with opened(client, server, "POST", "/chat/completions", body) as response:
        try:
            await _read(response, server, max_tokens, answer)
        except httpx.HTTPError as error:
            raise _unreached(error, server, begun=bool(answer.letters)) from error


@contextlib.asynccontextmanager
async def opened(
    client: httpx.AsyncClient, server: Server, method: str, route: str, body: Mapping[str, Any] | None = None
) -> AsyncIterator[httpx.Response]:
    """A response whose body is still to be read, closed in the end; raises Fault where none comes in time."""
    settings = server.settings
    try:
        async with asyncio.timeout(settings.deadline_s) as clock:
            sending = client.send(client.build_request(method, server.address.url + route, json=body), stream=True)
            response = await within(_first_s(settings), sending, "a first byte")
            try:
                yield response
            finally:
                await response.aclose()
    except TimeoutError as error:
        if not clock.expired():
            raise
        raise Fault(Finish.TIMED_OUT, f"not whole within {settings.deadline_s:g} s") from error
    except httpx.HTTPError as error:
        raise _unreached(error, server) from error


def _first_s(settings: EndpointSettings) -> float:
    return settings.first_s if settings.stream else settings.deadline_s


async def within(seconds: float, wait: Awaitable[_T], what: str) -> _T:
    """Await at most so long; raises Fault where that is not enough."""
    try:
        async with asyncio.timeout(seconds) as clock:
            return await wait
    except TimeoutError as error:
        if not clock.expired():
            raise
        raise Fault(Finish.TIMED_OUT, f"without {what} for {seconds:g} s") from error


def _unreached(error: httpx.HTTPError, server: Server, *, begun: bool = False) -> Fault:
    """What an error of the connection means; `begun`: a part of the answer had come."""
    if isinstance(error, httpx.ConnectTimeout):
        return Fault(Finish.TIMED_OUT, "no connection in time")
    told = server.shown(str(error), 120) or type(error).__name__
    return Fault(Finish.CUT if begun or isinstance(error, httpx.ReadError) else Finish.LOST, told)


async def _read(response: httpx.Response, server: Server, max_tokens: int, answer: Answer) -> None:
    if response.status_code != 200:
        raise await refused(response, server)
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "text/event-stream":
        async for event in _events(response, server, LONGEST_LINE + BYTES_PER_TOKEN * max_tokens):
            _take(event, server, answer)
            if answer.letters > _SOME + LETTERS_PER_TOKEN * max_tokens:
                raise Fault(Finish.LOST, f"the answer is longer than {max_tokens} tokens can be")
    else:
        raw = await bounded(response, server, LONGEST_LINE + LETTERS_PER_TOKEN * max_tokens)
        _take(parsed(raw, kind, server), server, answer)
    if not answer.finish_reason:
        raise Fault(Finish.CUT, "the answer ended midway")


async def refused(response: httpx.Response, server: Server) -> Fault:
    """Read what a server says beside a status other than 200; see `refusal`."""
    raw = b""
    with contextlib.suppress(Fault, httpx.HTTPError):  # the status says enough
        raw = await bounded(response, server, _SOME, cut=True)
    return refusal(response.status_code, server, raw, response.headers)


async def bounded(response: httpx.Response, server: Server, most: int, *, cut: bool = False) -> bytes:
    """Return a body of at most `most` bytes; of a longer one its beginning (`cut`), or raises Fault."""
    found = b""
    async for piece in _pieces(response, server.settings):
        found += piece
        if len(found) > most:
            if cut:
                break
            raise Fault(Finish.LOST, f"the answer has more than {most} bytes")
    return found[:most]


async def _pieces(response: httpx.Response, settings: EndpointSettings) -> AsyncIterator[bytes]:
    """The body as it comes, never unpacked: a small packed body can be an endless one."""
    if response.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
        raise Fault(Finish.LOST, "the answer is compressed although that was not asked for")
    pieces = response.aiter_raw().__aiter__()
    wait_s, what = _first_s(settings), "a first byte"
    while True:
        piece = await within(wait_s, anext(pieces, None), what)
        if piece is None:
            return
        yield piece
        wait_s, what = settings.idle_s, "another byte"


async def _events(response: httpx.Response, server: Server, most: int) -> AsyncIterator[Any]:
    """The parsed data of server-sent events, until `[DONE]` or the end of the body."""
    held, total, lines = b"", 0, list[bytes]()
    async for piece in _pieces(response, server.settings):
        total += len(piece)
        held += piece
        if total > most or len(held) > LONGEST_LINE + len(piece):
            raise Fault(Finish.LOST, f"the stream is longer than {most} bytes")
        *whole, held = held.split(b"\n")
        for line in whole:
            line = line.rstrip(b"\r")
            if line.startswith(b"data:"):
                lines.append(line[5:].removeprefix(b" "))
            elif not line and lines:
                data, lines = b"\n".join(lines), []
                if data.strip() == b"[DONE]":
                    return
                yield parsed(data, "an event", server)


def parsed(raw: bytes, kind: str, server: Server) -> Any:
    """Return bytes as JSON; raises Fault for anything else."""
    try:
        return json.loads(raw.decode("utf-8", "replace"))
    except (ValueError, RecursionError) as error:
        begins, kind = server.shown(raw[:_SOME].decode("utf-8", "replace"), 60), server.shown(kind, 60)
        raise Fault(Finish.LOST, f"the answer is no JSON but {kind or 'of no known type'}: {begins}") from error


def _take(event: Any, server: Server, answer: Answer) -> None:
    """Add one event of a stream, or a whole answer, to what was said."""
    if not isinstance(event, dict):
        raise Fault(Finish.LOST, "the answer is not a map")
    if event.get("error"):
        _raise_inner(event, server, begun=bool(answer.letters))
    answer.model = _text(event.get("model")) or answer.model
    answer.version = _text(event.get("system_fingerprint")) or answer.version
    answer.usage = event["usage"] if isinstance(event.get("usage"), dict) else answer.usage
    choices = event.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, dict) or choice.get("index") not in (0, None):
            continue
        said = choice.get("delta") or choice.get("message")
        if isinstance(said, dict):
            _hear(said, answer)
        answer.finish_reason = _text(choice.get("finish_reason")) or answer.finish_reason


def _hear(said: Mapping[str, Any], answer: Answer) -> None:
    """Take content and reasoning out of a message or a delta; some servers send the reasoning under both names."""
    content, reasoning = said.get("content"), _text(said.get("reasoning")) or _text(said.get("reasoning_content"))
    if isinstance(content, list):  # parts
        parts = [part for part in content if isinstance(part, dict)]
        content = "".join(_text(part.get("text")) for part in parts)
    content = _text(content)
    answer.content.append(content)
    answer.reasoning.append(reasoning)
    answer.letters += len(content) + len(reasoning)


def _raise_inner(event: Mapping[str, Any], server: Server, *, begun: bool) -> None:
    """Raise what an error inside a 200 means: routers of many servers send them so, even in the middle of a stream."""
    error = event["error"]
    code = error.get("code") if isinstance(error, dict) else None
    raw = json.dumps(event)
    if isinstance(code, int) and 400 <= code < 600 and not begun:
        raise refusal(code, server, raw.encode())
    raise Fault(Finish.CUT if begun else Finish.LOST, server.shown(_message(raw)))


def refusal(status: int, server: Server, raw: bytes, headers: Mapping[str, str] = MappingProxyType({})) -> Fault:
    """Return the fault that a status other than 200 is; raises EngineError where each request would meet it."""
    body, address, settings = raw.decode("utf-8", "replace"), server.address, server.settings
    told = f"{status} {server.shown(_message(body))}".strip()
    if status in (401, 403):
        hint = f"put a key it takes into the environment variable {settings.key_env}, then run the same command"
        raise EngineError(f"the server {address.url} does not let us in ({told})", hint=hint)
    if status == 402 or "insufficient_quota" in body:
        hint = "top it up and run the same command: what is finished is kept"
        raise EngineError(f"the account at {address.url} has no credit left ({told})", hint=hint)
    if status in (404, 405):
        hint = f"its models: `curl {address.url}/models`; the URL usually ends in /v1"
        raise EngineError(f"the server {address.url} has no model `{address.model}` to talk to ({told})", hint=hint)
    if 300 <= status < 400:
        to = server.shown(headers.get("location", "").partition("?")[0], 120)
        raise EngineError(
            f"the server {address.url} sends us on to `{to}`", hint="give that address itself, if it is one"
        )
    if status in (408, 409, 425, 429) or status >= 500:
        wait_s = retry_after(headers.get("retry-after", ""))
        if wait_s is not None and wait_s > settings.deadline_s:
            hint = "run the same command then: what is finished is kept"
            raise EngineError(f"the server {address.url} wants to be left alone for {wait_s:.0f} s ({told})", hint=hint)
        return Fault(Finish.LOST, told, wait_s=wait_s)
    return Fault(Finish.REFUSED, told, again=False)


def retry_after(text: str) -> float | None:
    """Return the seconds a Retry-After header asks for, given in seconds or as a date; None where it says nothing."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _message(body: str) -> str:
    """What an error's body says."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return re.sub(r"<[^<>]{0,200}>", " ", body)
    while isinstance(found, dict):
        found = next((found[key] for key in ("error", "message", "detail", "msg") if found.get(key)), "")
    return found if isinstance(found, str) else json.dumps(found)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _whole(text: str) -> str:
    """Join the halves of characters that two events of a stream may hold; a half alone becomes U+FFFD."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
