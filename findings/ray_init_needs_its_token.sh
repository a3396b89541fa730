#!/usr/bin/env bash
# ray: who joins a cluster that ray.init() started is turned away, though its token lies in his home
#
# Since token authentication is on by default, ray.init() without an address starts a cluster that wants a token, and
# writes the token to ~/.ray/auth_token. A second process of the same user that calls ray.init(address=…) does not read
# it: after some 20 seconds it ends in ConnectionError, with InvalidAuthToken as its cause.
# The other way round is worse: with RAY_AUTH_MODE=token and a cluster that wants none, ray.init succeeds, tasks run, and
# Ray Data's first actor dies "because all references to the actor were removed".
# A way round: RAY_AUTH_MODE=token for who joins, and only where the cluster wants it.
#
# Seen with ray 2.60.0:
#   joined as it is               ConnectionError
#   joined, RAY_AUTH_MODE=token   1.0 CPU
#   no token wanted, mode token   ActorDiedError
set -euo pipefail
unset PYTHONPATH RAY_AUTH_MODE RAY_ADDRESS
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
export HOME="$folder" RAY_USAGE_STATS_ENABLED=0 RAY_NUM_REDIS_GET_RETRIES=2 RAY_DEDUP_LOGS=0
python3 -m venv venv
venv/bin/pip install -q 'ray[data]==2.60.0'
cat > head.py <<'PY'
import sys

import ray

context = ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, object_store_memory=80 * 2**20)
print(context.address_info["gcs_address"], flush=True)
sys.stdin.read()
PY
cat > join.py <<'PY'
import sys

import ray

class Same:
    def __call__(self, batch):
        return batch


try:
    ray.init(address=sys.argv[1], log_to_driver=False)
    if sys.argv[2:]:
        rows = ray.data.from_items([1, 2]).map_batches(Same, num_cpus=0.5)
        print(len(rows.take_all()), "rows")
    else:
        print(ray.cluster_resources()["CPU"], "CPU")
except Exception as error:
    print(type(error).__name__)
PY
cluster() { # the lines of $2… with {} for the address of a cluster started with the environment $1
  coproc HEAD { env "$1" venv/bin/python head.py 2>/dev/null; }
  read -r address <&"${HEAD[0]}"
  shift
  for each in "$@"; do eval "${each//\{\}/$address}"; done
  eval "exec ${HEAD[1]}>&-"
  wait "$HEAD_PID" || true
}
cluster A=1 'as_it_is=$(venv/bin/python join.py {} 2>/dev/null)' \
            'with_mode=$(RAY_AUTH_MODE=token venv/bin/python join.py {} 2>/dev/null)'
cluster RAY_AUTH_MODE=disabled 'not_wanted=$(RAY_AUTH_MODE=token venv/bin/python join.py {} rows 2>/dev/null)'
echo "joined as it is:             $as_it_is"
echo "joined, RAY_AUTH_MODE=token: $with_mode"
echo "no token wanted, mode token: $not_wanted"
[ "$as_it_is" = ConnectionError ] && [ "$with_mode" = "1.0 CPU" ] && [ "$not_wanted" = ActorDiedError ]
