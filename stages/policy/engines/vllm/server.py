"""A running `vllm serve` as an engine: RL whose sampler has GPUs of its own, renewed by vLLM's weight transfer.

A server's address, the folder it serves and its contract enter; `stages.core.sampling.Engine` leaves. Prompts and
completions travel as token ids. New weights travel by NCCL from this process to the server's, as vLLM's own
trainer-side client does it; on a CPU that cannot be, and is said before the first step.

    VLLM_SERVER_DEV_MODE=1 vllm serve FOLDER --logprobs-mode processed_logprobs --max-logprobs -1 \\
        --generation-config vllm --weight-transfer-config '{"backend": "nccl"}'
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import torch

from stages.core.contract import Contract
from stages.core.errors import EngineError
from stages.core.run.endpoint import KEY_ENV
from stages.core.sampling import Completion, Finish, Reading, Request, Text
from stages.policy.engines.vllm import setup
from stages.policy.engines.vllm.names import tensor_names

MOST_TOP = 1024
"""Likeliest tokens that a server is asked for: it sends them for each token of the prompt too."""
FLIGHT = 128
"""Requests on their way at once."""
CONNECT_S, ANSWER_S = 10.0, 1800.0
"""Longest wait for a connection, and for a completion or new weights."""
START = "VLLM_SERVER_DEV_MODE=1 vllm serve FOLDER --logprobs-mode processed_logprobs --max-logprobs -1 "
START += '--generation-config vllm --weight-transfer-config \'{"backend": "nccl"}\''
FINISHES = {"stop": Finish.END, "length": Finish.LENGTH, "abort": Finish.ABORTED}

Item = TypeVar("Item")


class _Failed(Exception):
    """One request that came to nothing: how, and a sentence."""

    def __init__(self, finish: Finish, what: str) -> None:
        super().__init__(what)
        self.finish = finish


class VllmServer:
    """A model in a vLLM server."""

    name = "vllm"
    exact = False
    coupled = False
    apart = True

    def __init__(self, url: str, folder: Path, contract: Contract) -> None:
        """Connect to a server that serves `folder`. Raises EngineError for one that is not there, is no vLLM, has
        another length, or tells log-probabilities before the temperature."""
        self.url, self._folder, self._contract = url.rstrip("/").removesuffix("/v1"), folder, contract
        key = os.environ.get(KEY_ENV, "")
        self._client = httpx.Client(
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(ANSWER_S, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=FLIGHT, max_keepalive_connections=FLIGHT),
            trust_env=False,
        )
        self._threads = ThreadPoolExecutor(FLIGHT, thread_name_prefix="vllm-server")
        self.weights, self._source = 0, _Source()
        self.notes: list[str] = []
        self._transfer: Any = None
        try:
            self._model = self._served()
            self._refuse_raw_logprobs()
        except BaseException:
            self.close()
            raise

    def sample(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Completion]]:
        """Yield each request with its completion as it arrives. Raises EngineError when the server is gone."""
        yield from self._spread(requests, self._complete)

    def read(self, texts: Iterable[Text], k: int = 0) -> Iterator[tuple[Text, Reading]]:
        """Yield each text with its reading as it arrives. Raises EngineError for one that the server refuses."""
        if k > MOST_TOP:
            what = f"a vLLM server sends at most the {MOST_TOP} likeliest tokens, not {k}"
            raise EngineError(what, hint="keep no whole positions (whole_tokens=0), or leave runtime.vllm_server out")

        def one(text: Text) -> Reading:
            ids = [*text.prompt_ids, *text.completion_ids]
            try:
                choice = self._ask(ids, max_tokens=1, temperature=0.0, prompt_logprobs=k)
                return _reading(choice["prompt_logprobs"][len(text.prompt_ids) :], text, k)
            except _Failed as error:
                raise EngineError(f"a text cannot be read: {error}", hint="leave it out, or make it shorter") from error
            except (KeyError, TypeError, ValueError, IndexError) as error:
                raise self._strange(error) from error

        yield from self._spread(texts, one)

    def renew(self, weights: Iterable[tuple[str, Any]], version: int) -> None:
        """Send new weights, every tensor of the model; what is in flight is aborted, and the prefix cache emptied.

        Raises EngineError on a machine without a GPU, for a server that takes none, and for tensors that are missing
        or strange.
        """
        self._source.pairs = [(name, tensor.detach()) for name, tensor in weights]
        names, known = {name for name, _ in self._source.pairs}, tensor_names(self._folder)
        if names != known:
            odd = sorted(names ^ known)[0]
            raise EngineError(f"new weights and the model differ in `{odd}`", hint="send every tensor, and no other")
        try:
            self._transfer = self._transfer or self._rendezvous()
            self._post("/pause?mode=abort")
            self._transfer.send_weights()
            if not self._post("/reset_prefix_cache").get("success"):
                raise EngineError("the vLLM server would not empty its prefix cache", hint="start it again, and resume")
            self._post("/resume")
        except EngineError:
            raise
        except Exception as error:
            what = f"the vLLM server cannot take new weights: {setup.told(error)}"
            raise EngineError(what, hint=f"start it as: {START}") from error
        finally:
            self._source.pairs = []
        self.weights = version

    def close(self) -> None:
        """Drop the connections; the server goes on. A second call does nothing."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()
        if self._transfer is not None:
            self._transfer.shutdown()
            self._transfer = None

    def _complete(self, request: Request) -> Completion:
        sampling, version = request.sampling, self.weights
        asked = {"max_tokens": sampling.max_tokens, "temperature": sampling.temperature, "seed": request.seed}
        try:
            if sampling.top_p < 1:
                raise _Failed(Finish.REFUSED, "a vLLM server tells log-probabilities after top-p: use top_p 1")
            choice = self._ask(list(request.prompt_ids), stop_token_ids=self._contract.eos_ids, logprobs=0, **asked)
            ids, logprobs = list(choice["token_ids"]), list(choice["logprobs"]["token_logprobs"])
            finish = FINISHES[choice["finish_reason"]]
            if len(ids) != len(logprobs) or len(ids) > sampling.max_tokens or not all(type(one) is int for one in ids):
                raise ValueError("ids and log-probabilities do not fit each other")
            fault = "given up for new weights" if finish is Finish.ABORTED else ""
            return Completion(
                ids=ids, logprobs=[float(one) for one in logprobs], finish=finish, weights=version, fault=fault
            )
        except _Failed as error:
            return Completion(finish=error.finish, weights=version, fault=str(error))
        except (KeyError, TypeError, ValueError) as error:
            raise self._strange(error) from error

    def _ask(self, ids: list[int], **how: Any) -> dict[str, Any]:
        """One completion of one prompt; raises _Failed for what concerns this request alone."""
        room = self._contract.max_positions - how["max_tokens"] * (how.get("prompt_logprobs") is None)
        if not ids or len(ids) > room:
            raise _Failed(Finish.REFUSED, f"a prompt of {len(ids)} tokens does not fit: there is room for 1 to {room}")
        body = {"model": self._model, "prompt": ids, "return_token_ids": True, "ignore_eos": True, **how}
        found = self._post("/v1/completions", body)
        choice = found["choices"][0]
        if not isinstance(choice, dict):
            raise TypeError("a choice is no object")
        return choice

    def _spread(self, items: Iterable[Item], do: Callable[[Item], Any]) -> Iterator[tuple[Item, Any]]:
        """Do something for each item, FLIGHT at once, and yield them with their results as they come."""
        waiting, flying, more = iter(items), dict[Future[Any], Item](), True
        try:
            while more or flying:
                while more and len(flying) < FLIGHT:
                    try:
                        item = next(waiting)
                    except StopIteration:
                        more = False
                        break
                    flying[self._threads.submit(do, item)] = item
                for future in wait(flying, return_when=FIRST_COMPLETED).done:
                    yield flying.pop(future), future.result()
        finally:
            for future in flying:
                future.cancel()

    def _post(self, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """POST and return the JSON; raises _Failed for a refusal, EngineError for no server."""
        try:
            answer = self._client.post(f"{self.url}{path}", json=body)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise EngineError(f"there is no vLLM server at {self.url}", hint=f"start it as: {START}") from error
        except httpx.TimeoutException as error:
            raise _Failed(Finish.TIMED_OUT, f"no answer within {ANSWER_S:.0f} s") from error
        except httpx.HTTPError as error:
            raise _Failed(Finish.LOST, f"the connection broke ({type(error).__name__})") from error
        if answer.status_code in (404, 405):
            raise EngineError(f"the server at {self.url} has no {path.partition('?')[0]}", hint=f"start it as: {START}")
        if answer.status_code >= 400:
            again = answer.status_code >= 500 or answer.status_code == 429
            raise _Failed(Finish.LOST if again else Finish.REFUSED, _message(answer))
        return self._json(answer)

    def _json(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            found = answer.json()
        except ValueError as error:
            raise self._strange(error) from error
        if not isinstance(found, dict):
            raise self._strange(TypeError("no object"))
        return found

    def _served(self) -> str:
        """The name of the model there; raises EngineError where it cannot be ours."""
        try:
            answer = self._client.get(f"{self.url}/v1/models", timeout=CONNECT_S)
            listed = self._json(answer)["data"][0]
            name, longest = str(listed["id"]), int(listed["max_model_len"])
        except httpx.HTTPError as error:
            raise EngineError(f"there is no vLLM server at {self.url}", hint=f"start it as: {START}") from error
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise self._strange(error) from error
        if longest < self._contract.max_positions:
            what = f"the vLLM server holds {longest} tokens, the model {self._contract.max_positions}"
            raise EngineError(what, hint=f"start it with --max-model-len {self._contract.max_positions}")
        return name

    def _refuse_raw_logprobs(self) -> None:
        """At temperature 2 the likeliest token is less likely: a server that says otherwise tells raw ones."""
        try:
            told = [
                self._ask([self._contract.pad_id], max_tokens=1, temperature=heat, seed=0, logprobs=1)["logprobs"]
                for heat in (1.0, 2.0)
            ]
            cool, hot = (max(one["top_logprobs"][0].values()) for one in told)
        except (_Failed, KeyError, TypeError, ValueError, IndexError) as error:
            raise self._strange(error) from error
        if hot >= cool:
            what = "the vLLM server tells log-probabilities at temperature 1, not those it draws by"
            raise EngineError(what, hint=f"start it as: {START}")

    def _rendezvous(self) -> Any:
        """Join with the server's workers in an NCCL group, this process being rank 0."""
        if not torch.cuda.is_available():
            what = "new weights go to a vLLM server by NCCL, and there is no GPU here"
            raise EngineError(what, hint="leave runtime.vllm_server out: the engine then runs in this process")
        from vllm.distributed.weight_transfer.clients import HTTPVLLMWeightSyncClient
        from vllm.distributed.weight_transfer.nccl_engine import NCCLTrainerInitInfo, NCCLTrainerWeightTransferEngine

        setup.refuse_absent()
        answer = self._client.get(f"{self.url}/get_world_size", timeout=CONNECT_S)
        if answer.status_code != 200:
            raise EngineError("the vLLM server does not take new weights", hint=f"start it as: {START}")
        place, port = _reachable(self.url)
        info = NCCLTrainerInitInfo(place, port, int(self._json(answer)["world_size"]) + 1, rank=0)
        client = HTTPVLLMWeightSyncClient(self.url, timeout=ANSWER_S)
        return NCCLTrainerWeightTransferEngine.trainer_init(info, client=client, source=self._source)

    def _strange(self, error: Exception) -> EngineError:
        what = f"the server at {self.url} does not speak as a vLLM server does ({type(error).__name__}: {error})"
        return EngineError(what[:400], hint=f"start it as: {START}")


class _Source:
    """The weights of one renewal, as vLLM's trainer-side engine reads them (`WeightSource`, by its methods)."""

    def __init__(self) -> None:
        self.pairs: list[tuple[str, torch.Tensor]] = []

    def metadata(self) -> list[Any]:
        from vllm.distributed.weight_transfer.base import ParamMeta

        return [ParamMeta(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in self.pairs]

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        return iter(self.pairs)


def _reading(positions: list[Any], text: Text, k: int) -> Reading:
    """A server's prompt log-probabilities of the completion: for each position token -> {logprob, rank}."""
    own, top_ids, top_logprobs = [], [], []
    if len(positions) != len(text.completion_ids):
        raise ValueError("prompt_logprobs of another length")
    for position, token in zip(positions, text.completion_ids, strict=True):
        values = {int(one): float(entry["logprob"]) for one, entry in position.items()}
        own.append(values[token])
        best = sorted(values, key=lambda one: -values[one])[:k]
        top_ids.append(best)
        top_logprobs.append([values[one] for one in best])
    return Reading(own, top_ids if k else [], top_logprobs if k else [])


def _message(answer: httpx.Response) -> str:
    """What an error's body says, on one line."""
    try:
        said = str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        said = answer.text
    line = "".join(letter if letter.isprintable() else " " for letter in said[:300])
    return f"the server answered {answer.status_code}: {line}"


def _reachable(url: str) -> tuple[str, int]:
    """An address of this machine that the server's machine can reach, and a free port."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=CONNECT_S) as way:
        place = str(way.getsockname()[0])
    with socket.socket() as free:
        free.bind(("", 0))
        return place, int(free.getsockname()[1])
