"""A server that can misbehave, engines that ask it, and no key in the environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from stages.core.endpoint import Address, EndpointSettings
from stages.policy.engines.endpoint import EndpointEngine
from tests.policy.engines import fake_server as fake
from tests.policy.engines.asking import Opened
from tests.policy.engines.fake_server import FakeServer


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

    def open_(
        *, model: str = fake.MODEL, said: Any = None, journal: Any = None, tell: Any = None, **settings: Any
    ) -> Any:
        chosen = EndpointSettings(**{"backoff_s": 0.01, **settings})
        address = Address.parse(f"openai:{server.url}#{model}")
        engines.append(EndpointEngine(address, chosen, said=said, journal=journal, tell=tell))
        return engines[-1]

    yield open_
    for engine in engines:
        engine.close()
