"""Run one benchmark or all: python -m bench [all | start | throughput | submit | …]."""

import importlib
import sys

BENCHES = ("start", "throughput", "submit", "verify", "queue_fairness", "requests")

if __name__ == "__main__":
    wanted = sys.argv[1] if len(sys.argv) > 1 else "all"
    for name in BENCHES if wanted == "all" else (wanted,):
        print(f"\n== {name}", flush=True)
        sys.argv = [name]
        importlib.import_module(f"bench.{name}").main()
