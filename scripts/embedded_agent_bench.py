"""How fast the embedded agent starts jobs, and how much memory it takes: 200 jobs of two sleeping processes each.

    python scripts/embedded_agent_bench.py [JOBS] [INSTANCES]

It prints the rate from the first registration until all instances run, and the agent's processor time and memory then.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.contract.embedded_agent import embedded_agent

_PATIENCE_SECONDS = 300.0
_CALLERS = 4
_MIB = 1024 * 1024


def sleeping(number: int, instances: int) -> dict:
    task = {"Name": "main", "Driver": "raw_exec", "Config": {"command": "sleep", "args": ["3600"]}}
    group = {"Name": "app", "Count": instances, "Tasks": [{**task, "Resources": {"CPU": 10, "MemoryMB": 10}}]}
    update = {"HealthCheck": "task_states", "MinHealthyTime": 1_000_000_000}
    return {"ID": f"sleep-{number}", "Type": "service", "Update": update, "TaskGroups": [group]}


def main(jobs: int, instances: int) -> None:
    with tempfile.TemporaryDirectory() as folder, embedded_agent(Path(folder)) as nomad:
        begun = time.monotonic()
        with ThreadPoolExecutor(_CALLERS) as pool:
            list(pool.map(lambda n: nomad.http("PUT", "/v1/jobs", {"Job": sleeping(n, instances)}), range(jobs)))
        registered = time.monotonic() - begun
        running = 0
        while running < jobs * instances and time.monotonic() - begun < _PATIENCE_SECONDS:
            running = sum(one["ClientStatus"] == "running" for one in nomad.http("GET", "/v1/allocations"))
            time.sleep(0.05)
        seconds = time.monotonic() - begun
        agent = psutil.Process(nomad.server.process.pid)
        spent = agent.cpu_times()
        figures = {
            "jobs": jobs,
            "running": running,
            "registered_seconds": round(registered, 2),
            "running_seconds": round(seconds, 2),
            "jobs_per_second": round(jobs / seconds, 1),
            "agent_cpu_seconds": round(spent.user + spent.system, 2),
            "agent_mib": round(agent.memory_info().rss / _MIB),
        }
        print(json.dumps(figures))


if __name__ == "__main__":
    main(*(int(word) for word in (*sys.argv[1:], *("200", "2")[len(sys.argv) - 1 :])))
