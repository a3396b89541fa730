"""An endpoint's first use: its address enters, a folder that says where it is and what it said of itself leaves.

One list of models and one tiny answer are asked for, so that a wrong address, key or model is found before any work.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stages.core.run.endpoint import Address, EndpointSettings
from stages.core.storage import disk
from stages.policy.engines.endpoint.engine import EndpointEngine


def import_endpoint(address: Address, settings: EndpointSettings, folder: Path) -> dict[str, Any]:
    """Write endpoint.json into `folder` and return the model that answered, its version and the tokens it holds.

    Raises EngineError in a sentence where the server is not there, does not let us in or has another model.
    """
    engine = EndpointEngine(address, settings)
    try:
        said = engine.check()
    finally:
        engine.close()
    found = {"address": address.text, "said": said}
    disk.write_atomically(folder / "endpoint.json", json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    version, listed = said["system_fingerprint"], said["listed"] or {}
    return {"model": said["model"], "system_fingerprint": version, "max_model_len": listed.get("max_model_len")}
