"""This machine -> the one node of the agent, as Nomad's API shows a node."""

from __future__ import annotations

import os
import platform
import socket

import psutil

from hms_nomad.dev.agent.placement import LOOPBACK
from hms_nomad.dev.agent.values import Json

VERSION = "2.0.5"
"""The Nomad whose API the agent speaks."""

_MIB = 1024 * 1024
_USUAL_MHZ = 2000
# A laptop runs more than it reserves for: tasks here are only counted, never held to their share.
_CPU_FACTOR = 16


def make_node(node_id: str, name: str, datacenter: str, consul: Json, *, docker: bool, now: float) -> Json:
    """The node; ``consul`` is what that says of itself ({}: there is none), ``docker`` whether there is an engine."""
    cores = os.cpu_count() or 1
    frequency = psutil.cpu_freq() if hasattr(psutil, "cpu_freq") else None
    mhz = int(frequency.max or frequency.current or _USUAL_MHZ) if frequency else _USUAL_MHZ
    memory = psutil.virtual_memory().total
    compute = cores * mhz
    attributes = {
        "arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        "cpu.arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        "cpu.numcores": str(cores),
        "cpu.totalcompute": str(compute),
        "cpu.frequency": str(mhz),
        "driver.raw_exec": "1",
        "driver.exec": "1",
        "kernel.name": platform.system().lower(),
        "kernel.version": platform.release(),
        "memory.totalbytes": str(memory),
        "nomad.version": VERSION,
        "nomad.embedded": "true",
        "nomad.advertise.address": LOOPBACK,
        "os.name": platform.system().lower(),
        "unique.hostname": socket.gethostname(),
        "unique.network.ip-address": LOOPBACK,
        **_consul_attributes(consul),
        **({"driver.docker": "1"} if docker else {}),
    }
    drivers = {"raw_exec": True, "exec": True, "docker": docker}
    return {
        "ID": node_id,
        "Name": name,
        "Datacenter": datacenter,
        "NodeClass": "",
        "NodePool": "default",
        "Address": LOOPBACK,
        "HTTPAddr": "",
        "Status": "ready",
        "StatusDescription": "",
        "StatusUpdatedAt": int(now),
        "SchedulingEligibility": "eligible",
        "Drain": False,
        "DrainStrategy": None,
        "Attributes": attributes,
        "Meta": {"connect.log_level": "info", "connect.proxy_concurrency": "1"},
        "Drivers": {
            driver: {
                "Detected": there,
                "Healthy": there,
                "HealthDescription": "Healthy" if there else "no container engine answers",
                "Attributes": {f"driver.{driver}": "true"} if there else None,
            }
            for driver, there in drivers.items()
        },
        "NodeResources": {
            "Cpu": {"CpuShares": compute * _CPU_FACTOR, "TotalCpuCores": cores},
            "Memory": {"MemoryMB": memory // _MIB},
            "Disk": {"DiskMB": 100_000},
            "Networks": [
                {"Mode": "host", "Device": "lo", "IP": LOOPBACK, "CIDR": f"{LOOPBACK}/32"},
                {"Mode": "bridge", "Device": "", "IP": "", "CIDR": ""},
            ],
        },
        "Links": None,
        "LastDrain": None,
    }


def _consul_attributes(consul: Json) -> dict[str, str]:
    if not consul:
        return {}
    config, debug = consul.get("Config") or {}, consul.get("DebugConfig") or {}
    return {
        "consul.version": str(config.get("Version") or ""),
        "consul.datacenter": str(config.get("Datacenter") or ""),
        "consul.revision": str(config.get("Revision") or ""),
        "consul.server": "true" if config.get("Server") else "false",
        "consul.sku": "oss",
        "consul.connect": "true" if debug.get("ConnectEnabled") else "false",
        "consul.grpc": str(debug.get("GRPCPort") or -1),
        "unique.consul.name": str(config.get("NodeName") or ""),
    }
