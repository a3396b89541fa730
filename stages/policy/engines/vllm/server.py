"""A running `vllm serve` as an engine: RL whose sampler has GPUs of its own, renewed by vLLM's weight transfer.

A server's address, the folder it serves and its contract enter; `stages.core.sampling.Engine` leaves. Prompts and
completions travel as token ids. New weights travel by NCCL from this process to the server's, as vLLM's own
trainer-side client does it; on a CPU that cannot be, and is said before the first step.

    VLLM_SERVER_DEV_MODE=1 vllm serve FOLDER --logprobs-mode processed_logprobs --max-logprobs -1 \\
        --generation-config vllm --weight-transfer-config '{"backend": "nccl"}'
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx
import torch
from transformers import AutoConfig

from stages.core.contract import Contract
from stages.core.errors import EngineError
from stages.core.run.endpoint import EndpointSettings, server_address
from stages.core.run.runtime import Runtime
from stages.core.sampling import Completion, Finish, Reading, Request, Text
from stages.policy.engines import probe
from stages.policy.engines.endpoint.wire import Server, key_of
from stages.policy.engines.local.engine import LocalEngine
from stages.policy.engines.vllm import setup
from stages.policy.engines.vllm.names import tensor_names
from stages.policy.models.agreement import BOUNDS

MOST_TOP = 1024
"""Likeliest tokens that a server is asked for: it sends them for each token of the prompt too."""
FLIGHT = 128
"""Requests on their way at once."""
CONNECT_S = 10.0
"""Longest wait for a connection."""
START = "VLLM_SERVER_DEV_MODE=1 vllm serve FOLDER --logprobs-mode processed_logprobs --max-logprobs -1 "
START += '--generation-config vllm --weight-transfer-config \'{"backend": "nccl"}\''
COOLEST, HOTTEST = 0.01, 2.0
"""Temperatures between 0 and the first are raised to it by vLLM, and those above the second refused."""
SLACK = 1e-3
"""Nats that rounding may lift a log-probability above 0."""
PROBE_TOKENS = 32
"""Tokens drawn to find out which model a server has."""
STRANGE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""What a body of another shape than vLLM's raises when it is read."""
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

    def __init__(
        self,
        url: str,
        folder: Path,
        contract: Contract,
        *,
        dtype: str | None = None,
        wait_s: float = Runtime.vllm_wait_s,
    ) -> None:
        """Connect to a server that serves `folder`. `dtype`: number type in which the folder is loaded once, on the
        CPU, and compared with the server; None where a trainer renews the server and compares then. `wait_s`: longest
        wait for a completion or new weights.

        Raises EngineError for one that is not there, is no vLLM, has another length or another model, or tells
        log-probabilities before the temperature; RecipeError for what is no address.
        """
        address, settings = server_address(url), EndpointSettings()
        self._server = Server(address, settings, key_of(settings))
        self._wait_s = wait_s
        self.url, self._folder, self._contract = address.url, folder, contract
        key = self._server.key
        self._client = httpx.Client(
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(wait_s, connect=CONNECT_S),
            limits=httpx.Limits(max_connections=FLIGHT, max_keepalive_connections=FLIGHT),
            trust_env=False,
        )
        self._threads = ThreadPoolExecutor(FLIGHT, thread_name_prefix="vllm-server")
        self.weights, self._source = 0, _Source()
        self.notes: list[str] = []
        if key and address.in_the_clear:
            self.notes.append(f"the key travels unencrypted to {address.host}: use https where others can listen")
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        self._vocabulary = int(config.get_text_config().vocab_size)
        self._transfer: Any = None
        try:
            self._model = self._served()
            self._refuse_raw_logprobs()
            if dtype is not None:
                self._refuse_another_model(dtype)
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
                found = choice["prompt_logprobs"][len(text.prompt_ids) :]
                return _reading(found, text, k, self._vocabulary)
            except _Failed as error:
                raise EngineError(f"a text cannot be read: {error}", hint="leave it out, or make it shorter") from error
            except STRANGE as error:
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
            told = self._server.shown(str(error) or type(error).__name__, 300)
            what = f"the vLLM server cannot take new weights: {told}"
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
            if 0 < sampling.temperature < COOLEST or sampling.temperature > HOTTEST:
                what = f"vLLM draws at temperature 0 or {COOLEST:g} to {HOTTEST:g}, not at {sampling.temperature:g}"
                hint = "use `runtime.engine=transformers`, without runtime.vllm_server"
                raise _Failed(Finish.REFUSED, f"{what}: {hint}")
            choice = self._ask(list(request.prompt_ids), stop_token_ids=self._contract.eos_ids, logprobs=0, **asked)
            ids, logprobs = _drawn(choice, sampling.max_tokens, self._vocabulary)
            finish = FINISHES[choice["finish_reason"]]
            if not ids and finish is not Finish.ABORTED:
                raise ValueError("no token")
            fault = "given up for new weights" if finish is Finish.ABORTED else ""
            return Completion(ids=ids, logprobs=logprobs, finish=finish, weights=version, fault=fault)
        except _Failed as error:
            return Completion(finish=error.finish, weights=version, fault=str(error))
        except STRANGE as error:
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
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.InvalidURL) as error:
            raise EngineError(f"there is no vLLM server at {self.url}", hint=f"start it as: {START}") from error
        except httpx.TimeoutException as error:
            raise _Failed(Finish.TIMED_OUT, f"no answer within {self._wait_s:g} s") from error
        except httpx.HTTPError as error:
            raise _Failed(Finish.LOST, f"the connection broke ({type(error).__name__})") from error
        self._refuse_shut_out(answer)
        if answer.status_code in (404, 405):
            raise EngineError(f"the server at {self.url} has no {path.partition('?')[0]}", hint=f"start it as: {START}")
        if answer.status_code >= 400:
            again = answer.status_code >= 500 or answer.status_code == 429
            raise _Failed(Finish.LOST if again else Finish.REFUSED, self._message(answer))
        return self._json(answer)

    def _json(self, answer: httpx.Response) -> dict[str, Any]:
        try:
            found = answer.json()
        except STRANGE as error:
            raise self._strange(error) from error
        if not isinstance(found, dict):
            raise self._strange(TypeError("no object"))
        return found

    def _served(self) -> str:
        """The name of the model there; raises EngineError where it cannot be ours."""
        try:
            answer = self._client.get(f"{self.url}/v1/models", timeout=CONNECT_S)
            self._refuse_shut_out(answer)
            listed = self._json(answer)["data"][0]
            name, longest = str(listed["id"]), int(listed["max_model_len"])
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise EngineError(f"there is no vLLM server at {self.url}", hint=f"start it as: {START}") from error
        except STRANGE as error:
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
            cool, hot = (max(_nats(value) for value in one["top_logprobs"][0].values()) for one in told)
        except (_Failed, *STRANGE) as error:
            raise self._strange(error) from error
        if hot >= cool:
            what = "the vLLM server tells log-probabilities at temperature 1, not those it draws by"
            raise EngineError(what, hint=f"start it as: {START}")

    def _refuse_another_model(self, dtype: str) -> None:
        """Let the server draw a text and compare what it and the folder's weights hold of it; names prove nothing."""
        start = [max(0, self._contract.pad_id), *(number % self._vocabulary for number in range(7, 407, 100))]
        try:
            choice = self._ask(start, max_tokens=PROBE_TOKENS, temperature=1.0, seed=0, logprobs=0)
            ids, _ = _drawn(choice, PROBE_TOKENS, self._vocabulary)
        except (_Failed, *STRANGE) as error:
            raise self._strange(error) from error
        if len(ids) != PROBE_TOKENS:
            raise self._strange(ValueError(f"{len(ids)} tokens instead of {PROBE_TOKENS}"))
        text, here = Text(start, ids), Runtime(device="cpu")
        own = LocalEngine.open(self._folder, contract=self._contract, dtype=dtype, runtime=here)
        ((_, reading),) = own.read([text])
        own.close()
        found, cap = probe.gap(self, [text], [reading.logprobs]), BOUNDS[dtype]
        if not found <= cap:
            what = f"the server at {self.url} does not run the model in `{self._folder}`: it is {found:.3g} nats "
            hint = f"serve that folder: `vllm serve {self._folder} --dtype {dtype}`, or leave runtime.vllm_server out"
            raise EngineError(f"{what}a token from it, above {cap:.3g}", hint=hint)

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
        client = HTTPVLLMWeightSyncClient(self.url, timeout=self._wait_s)
        return NCCLTrainerWeightTransferEngine.trainer_init(info, client=client, source=self._source)

    def _strange(self, error: Exception) -> EngineError:
        told = self._server.shown(f"{type(error).__name__}: {error}")
        what = f"the server at {self.url} does not speak as a vLLM server does ({told})"
        return EngineError(what, hint=f"start it as: {START}")

    def _message(self, answer: httpx.Response) -> str:
        """What an error's body says, on one line without the key."""
        try:
            said = str(answer.json()["error"]["message"])
        except STRANGE:
            said = answer.text
        return f"the server answered {answer.status_code}: {self._server.shown(said, 300)}"

    def _refuse_shut_out(self, answer: httpx.Response) -> None:
        if answer.status_code in (401, 403):
            hint = f"put a key it takes into the environment variable {self._server.settings.key_env}"
            raise EngineError(f"the server at {self.url} does not let us in: {self._message(answer)}", hint=hint)


class _Source:
    """The weights of one renewal, as vLLM's trainer-side engine reads them (`WeightSource`, by its methods)."""

    def __init__(self) -> None:
        self.pairs: list[tuple[str, torch.Tensor]] = []

    def metadata(self) -> list[Any]:
        from vllm.distributed.weight_transfer.base import ParamMeta

        return [ParamMeta(name, tensor.dtype, tuple(tensor.shape)) for name, tensor in self.pairs]

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        return iter(self.pairs)


def _nats(value: Any) -> float:
    """A log-probability as it must be: finite, and at most 0 but for rounding."""
    if type(value) not in (int, float) or not float("-inf") < value <= SLACK:
        raise ValueError(f"a log-probability of {value}")
    return float(value)


def _drawn(choice: dict[str, Any], most: int, vocabulary: int) -> tuple[list[int], list[float]]:
    """The ids and log-probabilities of one choice; raises one of STRANGE for what no model of the vocabulary draws."""
    ids, logprobs = list(choice["token_ids"]), [_nats(one) for one in choice["logprobs"]["token_logprobs"]]
    if len(ids) != len(logprobs) or len(ids) > most:
        raise ValueError("ids and log-probabilities do not fit each other")
    if not all(type(one) is int and 0 <= one < vocabulary for one in ids):
        raise ValueError("an id that the model's vocabulary has not")
    return ids, logprobs


def _reading(positions: list[Any], text: Text, k: int, vocabulary: int) -> Reading:
    """A server's prompt log-probabilities of the completion: for each position token -> {logprob, rank}."""
    own, top_ids, top_logprobs = [], [], []
    if len(positions) != len(text.completion_ids):
        raise ValueError("prompt_logprobs of another length")
    for position, token in zip(positions, text.completion_ids, strict=True):
        values = {int(one): _nats(entry["logprob"]) for one, entry in position.items()}
        if len(values) < k or not all(0 <= one < vocabulary for one in values):
            raise ValueError("prompt_logprobs of too few tokens, or of ids that the vocabulary has not")
        own.append(values[token])
        best = sorted(values, key=lambda one: -values[one])[:k]
        top_ids.append(best)
        top_logprobs.append([values[one] for one in best])
    return Reading(own, top_ids if k else [], top_logprobs if k else [])


def _reachable(url: str) -> tuple[str, int]:
    """An address of this machine that the server's machine can reach, and a free port."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname or "", parts.port or 80), timeout=CONNECT_S) as way:
        place = str(way.getsockname()[0])
    with socket.socket() as free:
        free.bind(("", 0))
        return place, int(free.getsockname()[1])
