"""`python -m tests.ray_head CPUS`: a Ray cluster of this machine alone, for as long as standard input is open.

Its address is the only line of standard output. No dashboard, no statistics, nothing of it outlives this process.
"""

from __future__ import annotations

import logging
import os
import sys

if __name__ == "__main__":
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled", "RAY_enable_metrics_collection": "0"}
    import ray

    context = ray.init(
        num_cpus=int(sys.argv[1]),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=80 * 2**20,
    )
    sys.stdout.write(f"{context.address_info['gcs_address']}\n")
    sys.stdout.flush()
    sys.stdin.read()
    ray.shutdown()
