"""A server that can misbehave, engines that ask it, and no key in the environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from stages.core.run.endpoint import Address, EndpointSettings
from stages.policy.engines.endpoint.engine import EndpointEngine
from tests.policy.engines import fake_server as fake
from tests.policy.engines import serving
from tests.policy.engines.asking import Opened
from tests.policy.engines.fake_server import FakeServer
from tests.policy.engines.world import Base


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    return Base.fetched(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="session")
def vllm_url(base: Base, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real vLLM server with the base: one for all tests, as it takes 25 seconds to start."""
    with serving.serving(base, tmp_path_factory.mktemp("served") / "log") as url:
        yield url


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with fake.running() as running:
        yield running


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def opened(server: FakeServer) -> Iterator[Opened]:
    engines: list[EndpointEngine] = []

    def open_(*, model: str = fake.MODEL, said: Any = None, journal: Any = None, **settings: Any) -> Any:
        chosen = EndpointSettings(**{"backoff_s": 0.01, **settings})
        address = Address.parse(f"openai:{server.url}#{model}")
        engines.append(EndpointEngine(address, chosen, said=said, journal=journal))
        return engines[-1]

    yield open_
    for engine in engines:
        engine.close()
