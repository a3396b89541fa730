"""New weights for an engine: the trainer's module enters, the engine samples from what it holds now.

The most reported fault of this field is a rollout that silently comes from old weights. So every tensor is handed over
under every name it has (a tied head too), and what the engine then says is compared with what the trainer says.
"""

from __future__ import annotations

from stages.core.sampling import Engine
from stages.policy.policy_weights import Policy


def renew(engine: Engine, policy: Policy, version: int) -> None:
    """Let `engine` sample from the weights that `policy` has now, as `version`; nothing to do where it has them.

    Raises EngineError when the engine cannot take them.
    """
    if engine.weights == version:
        return
    live = getattr(engine, "model", None) is policy.module
    engine.renew(() if live else policy.named_weights(), version)
