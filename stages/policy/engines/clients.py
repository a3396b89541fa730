"""Which client asks a model: one whose weights are here, or one that only speaks."""

from __future__ import annotations

from stages.core.artifact import Endpoint, Model
from stages.core.contract import Contract
from stages.core.run.runner import Work
from stages.policy.engines.client import Client
from stages.policy.engines.endpoint.client import EndpointClient


def client_of(model: Model | Endpoint, contract: Contract, dtype: str, work: Work) -> Client:
    """Return the client of a model, asked under a contract; `dtype` is the number type of weights that are here."""
    kind = EndpointClient if isinstance(model, Endpoint) else Client
    return kind(model, contract, dtype, work)
