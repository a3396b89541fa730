"""The engine that only speaks: requests in words enter, an OpenAI-compatible server's answers leave.

The wire, the limits and the journal are files of their own; here they become the protocol of stages.core.sampling. The
connections live in one event loop in a thread of its own, so that the server is kept busy while the caller judges.
Three kinds of failure are kept apart: of one attempt (sent again), of one request (a completion that says so) and of
the whole engine (EngineError: the key, the model, the budget, a server that is gone).
"""

from __future__ import annotations

import asyncio
import queue
import random
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import httpx

from stages.core.errors import EngineError
from stages.core.run.endpoint import Address, EndpointSettings
from stages.core.sampling import Completion, Finish, Reading, Request, Sampling, Text
from stages.policy.engines.endpoint.limits import Budget, Journal, OutOfBudget, Pace, Spent, request_key
from stages.policy.engines.endpoint.reading import called, judged, prompt_bytes
from stages.policy.engines.endpoint.wire import Answer, Fault, Server, client_of, exchange, key_of, listed

GIVE_UP = 4
"""Requests in a row that failed for good before the server counts as gone."""
LONGEST_BACKOFF_S = 60.0
_PROBE = Request(
    messages=[{"role": "user", "content": "Say yes."}], sampling=Sampling(max_tokens=16), seed=0, key="probe"
)
_WRONG_COUNTS = "the server counts tokens wrongly or not at all: lengths and costs are estimated where it does"
_KEY_SAID = "the server repeats the key in its answers: it is blotted out of them, and nothing else is"


@dataclass
class _Listed:
    """What the server's list of models said."""

    known: bool = False
    entry: dict[str, Any] | None = None


class EndpointEngine:
    """A model behind `openai:URL#model`."""

    name = "openai"
    exact = False
    apart = True
    coupled = False
    weights = 0

    def __init__(
        self,
        address: Address,
        settings: EndpointSettings,
        *,
        said: Mapping[str, Any] | None = None,
        think_tags: tuple[str, str] = ("<think>", "</think>"),
        journal: Path | None = None,
    ) -> None:
        """`said` is what the server said when it was first asked (`check`): another model than that ends the run.

        `journal` is the file that keeps answers and costs over a kill. Raises EngineError for a key that cannot be
        sent.
        """
        self.address, self.settings, self.think_tags = address, settings, think_tags
        self._server = Server(address, settings, key_of(settings))
        self._said = dict(said or {})
        self._journal = Journal(journal)
        if self._journal.spent.models:
            self._said.setdefault("model", next(iter(self._journal.spent.models)))
        self.notes: list[str] = []
        self._noted: set[str] = set()
        self._budget = Budget(settings, self._journal.spent)
        self._requests, self._tokens = Pace(settings.requests_per_minute), Pace(settings.tokens_per_minute)
        self._slots = asyncio.Semaphore(settings.concurrency)
        self._failures, self._pause_until = 0, 0.0
        self._limit_key = "max_tokens"
        self._ended: EngineError | None = None
        self._checking, self._listed = asyncio.Lock(), _Listed()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._client: httpx.AsyncClient | None = None
        if self._server.key and address.in_the_clear:
            self._note(f"the key travels unencrypted to {address.host}: use https where others can listen")

    @property
    def spent(self) -> Spent:
        """What was used so far, killed attempts included."""
        return self._journal.spent

    def figures(self) -> dict[str, Any]:
        """What was used and who answered, for an artifact's metrics; `money` is None where no prices are known."""
        spent = self.spent
        return {
            "requests": spent.requests,
            "prompt_tokens": spent.prompt_tokens,
            "tokens": spent.tokens,
            "estimated": spent.estimated,
            "retries": spent.retries,
            "money": self.settings.money(spent.prompt_tokens, spent.tokens),
            "models": dict(spent.models),
            "system_fingerprints": dict(spent.versions),
        }

    def check(self) -> dict[str, Any]:
        """Ask the server for its models and for one tiny answer; return what it says of itself.

        `listed` is its entry of /models (None where there is none), `model` and `system_fingerprint` are of the answer.
        Raises EngineError in a sentence where it is not there, not let in, has another model or another protocol.
        """
        completion = self._in_loop(self._answer(_PROBE)).result()
        if completion.failed:
            hint = f"see what it takes: `curl {self.address.url}/models`"
            raise EngineError(f"the server {self.address.url} answers a request with: {completion.fault}", hint=hint)
        versions = list(self.spent.versions)
        return {
            "listed": None if self._listed.entry is None else self._server.plain(self._listed.entry),
            "model": self._said.get("model"),
            "system_fingerprint": versions[0] if versions else None,
        }

    def look_up(self) -> None:
        """Ask the server for its list of models alone, which costs nothing; raises EngineError as `check`."""
        self._in_loop(self._check_once()).result()

    def sample(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Completion]]:
        """Yield each request with its answer as they come; what the journal holds is not asked again.

        Twice `concurrency` requests are read ahead, so that the server stays busy while the caller works. Raises
        EngineError when the whole engine is of no use any more; where only the budget ended, what is in flight is
        waited for and yielded first.
        """
        stream, flying = iter(requests), dict[Future[Completion], Request]()
        finished: queue.SimpleQueue[Future[Completion]] = queue.SimpleQueue()
        ended: EngineError | None = None
        try:
            while True:
                while ended is None and len(flying) < 2 * self.settings.concurrency:
                    request = next(stream, None)
                    if request is None:
                        break
                    known = self._journal.find(self._key_of(request))
                    if known is not None:
                        yield request, known
                        continue
                    future = self._in_loop(self._answer(request))
                    flying[future] = request
                    future.add_done_callback(finished.put)
                if not flying:
                    break
                future = finished.get()
                request = flying.pop(future)
                error = future.exception()
                if error is None:
                    yield request, future.result()
                elif isinstance(error, EngineError):
                    ended = ended or error
                    if not isinstance(error, OutOfBudget):
                        break
                else:
                    raise error
            for future, request in flying.items():  # of a server that is gone: what it had answered is not lost
                if future.done() and future.exception() is None:
                    yield request, future.result()
            if ended is not None:
                raise ended
        finally:
            for future in flying:
                future.cancel()

    def read(self, texts: Iterable[Text], k: int = 0) -> Iterator[tuple[Text, Reading]]:
        """Always raises EngineError: an endpoint only speaks."""
        self._only_speaks("tell the log-probabilities of a text")

    def renew(self, weights: Iterable[tuple[str, Any]], version: int) -> None:
        """Always raises EngineError: an endpoint only speaks."""
        self._only_speaks("take new weights")

    def close(self) -> None:
        """Close connections, thread and journal; a second call does nothing."""
        if self._loop is not None and self._thread is not None and self._client is not None:
            asyncio.run_coroutine_threadsafe(_stopped(self._client), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
        self._loop = self._thread = self._client = None
        self._journal.close()

    def _only_speaks(self, what: str) -> NoReturn:
        hint = f"where that is needed give a model whose weights are here, e.g. hf:{self.address.model}"
        raise EngineError(f"the endpoint {self.address.text} cannot {what}: it only speaks", hint=hint)

    def _in_loop(self, coroutine: Any) -> Future[Any]:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="endpoint", daemon=True)
            self._thread.start()
            self._client = client_of(self._server)
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _note(self, text: str) -> None:
        if text not in self._noted:
            self._noted.add(text)
            self.notes.append(text)

    def _body(self, request: Request) -> dict[str, Any]:
        if not request.messages:
            raise EngineError("an endpoint takes messages, and this request is token ids", hint="report this: a bug")
        drawn = request.sampling
        return {
            "model": self.address.model,
            "messages": [dict(message) for message in request.messages],
            "temperature": drawn.temperature,
            "top_p": drawn.top_p,
            "max_tokens": drawn.max_tokens,
            "seed": request.seed,
        }

    def _key_of(self, request: Request) -> str:
        return request_key(self.address, self._body(request))

    async def _answer(self, request: Request) -> Completion:
        """Return the answer to one request; what ends the engine ends it for those that wait, too."""
        async with self._slots:
            if self._ended is not None:
                raise self._ended
            try:
                await self._check_once()
                return await self._tried(request)
            except OutOfBudget:
                raise
            except EngineError as error:
                self._ended = self._ended or error
                raise

    async def _tried(self, request: Request) -> Completion:
        """Ask until there is an answer, asking again is of no use, or the retries are used up."""
        body, key, number = self._body(request), self._key_of(request), 0
        while True:
            completion, fault = await self._attempt(body, key)
            if fault is None or not fault.again:
                self._failures = 0 if fault is None else self._failures
                return completion
            if number == self.settings.retries:
                break
            self.spent.retries += 1
            await self._back_off(fault, number)
            number += 1
        self._failures += 1
        if self._failures >= GIVE_UP or isinstance(fault.__cause__, httpx.ConnectError):
            raise self._gone(fault)
        return completion

    async def _attempt(self, body: dict[str, Any], key: str) -> tuple[Completion, Fault | None]:
        """Send one request once; return what came of it, booked and written down."""
        worst = prompt_bytes(body) + 64, int(body["max_tokens"])
        hold = object()
        await self._budget.hold(hold, *worst)
        try:
            expected = self._expected(worst)
            await self._requests.turn(1)
            await self._tokens.turn(expected)
            await self._unpaused()
            answer, fault = Answer(), None
            try:
                await self._exchange(body, answer)
                self._same_model(answer)
            except Fault as error:
                fault = error
            completion, cost = judged(answer, fault, body, self._server, self.think_tags)
            if completion.text != answer.completion(self.think_tags):
                self._note(_KEY_SAID)
            if cost.estimated and answer.finish_reason:
                self._note(_WRONG_COUNTS)
            if fault is None or not fault.again or answer.letters:
                self._journal.add(key, completion, cost)
                self._tokens.settle(cost.prompt_tokens + cost.tokens - expected)
            else:
                self._tokens.settle(-expected)
            return completion, fault
        finally:
            await self._budget.release(hold)

    async def _exchange(self, body: dict[str, Any], answer: Answer) -> None:
        """Post a body in the words this server takes: newer models want another name for the limit."""
        assert self._client is not None
        sent = {name if name != "max_tokens" else self._limit_key: value for name, value in body.items()}
        if self.settings.stream:
            sent |= {"stream": True, "stream_options": {"include_usage": True}}
        try:
            await exchange(self._client, self._server, sent, answer)
        except Fault as fault:
            if "max_completion_tokens" not in fault.told or "max_tokens" not in sent:
                raise
            self._limit_key = "max_completion_tokens"
            await self._exchange(body, answer)

    def _expected(self, worst: tuple[int, int]) -> float:
        """Tokens that a request will take, as far as those before it tell."""
        spent = self.spent
        return (spent.prompt_tokens + spent.tokens) / spent.requests if spent.requests else float(sum(worst))

    def _same_model(self, answer: Answer) -> None:
        """Raise EngineError where another model answered than was asked, or than answered before."""
        asked, told = self.address.model, self._server.shown(answer.model)
        if not told:
            return
        if not called(told, asked):
            hint = f"if that is the one you mean: openai:{self.address.url}#{told}"
            raise EngineError(f"the server {self.address.url} answers as `{told}`, and `{asked}` was asked", hint=hint)
        before = self._said.setdefault("model", told)
        if before != told:
            self._another(before, told)

    async def _back_off(self, fault: Fault, number: int) -> None:
        """Wait before the next attempt: as long as the server says (then all wait), else longer each time."""
        if not fault.wait_s:
            longest = min(LONGEST_BACKOFF_S, self.settings.backoff_s * 2**number)
            await asyncio.sleep(random.uniform(0.5, 1.0) * longest)
        else:
            until = asyncio.get_running_loop().time() + fault.wait_s * random.uniform(1.0, 1.1)
            self._pause_until = max(self._pause_until, until)

    async def _unpaused(self) -> None:
        while (wait_s := self._pause_until - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(wait_s)

    async def _check_once(self) -> None:
        """Look the model up in what the server lists, before anything is spent."""
        async with self._checking:
            if not self._listed.known:
                self._listed.entry = await self._look_up()
                self._listed.known = True

    async def _look_up(self) -> dict[str, Any] | None:
        """The server's entry of the model, None where it lists none; raises EngineError for another than before."""
        assert self._client is not None
        for number in range(self.settings.retries + 1):
            try:
                entries = await listed(self._client, self._server)
                break
            except Fault as fault:
                if isinstance(fault.__cause__, httpx.HTTPError) or fault.finish is Finish.TIMED_OUT:
                    hint = "start it or check the address, then run the same command"
                    what = f"no OpenAI-compatible server answers at {self.address.url} ({fault.told})"
                    raise EngineError(what, hint=hint) from fault
                if number == self.settings.retries:
                    raise self._gone(fault) from fault
                await self._back_off(fault, number)
                await self._unpaused()
        found = entries.get(self.address.model)
        before = (self._said.get("listed") or {}).get("root")
        if found and before and found.get("root") not in (None, before):
            self._another(before, str(found["root"]))
        return found

    def _another(self, before: str, now: str) -> NoReturn:
        undeclared = replace(self.address, revision="").text
        hint = f"if that is meant, declare it as another model: {undeclared}@REVISION"
        shown = self._server.shown(now)
        raise EngineError(
            f"`{self.address.model}` at {self.address.url} was `{before}` and is `{shown}` now", hint=hint
        )

    def _gone(self, fault: Fault) -> EngineError:
        hint = "run the same command when it is back: what is finished is kept"
        if fault.told.startswith("429"):
            hint = "try fewer at once, e.g. runtime.endpoint.concurrency=2, or runtime.endpoint.requests_per_minute=20"
        return EngineError(f"the server {self.address.url} does not answer any more ({fault.told})", hint=hint)


async def _stopped(client: httpx.AsyncClient) -> None:
    """Cancel what is still in flight, close the connections, and leave nothing that the loop would still have to do:
    a body that was not read to its end is a generator, and closing it is a task of its own, begun when it is dropped.
    """
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    while others := asyncio.all_tasks() - {this}:
        for task in others:
            task.cancel()
        await asyncio.wait(others)
    await client.aclose()
    await loop.shutdown_asyncgens()
    while others := asyncio.all_tasks() - {this}:
        await asyncio.wait(others)
