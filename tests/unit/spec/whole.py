"""Specs that together hold every field of the language, each with a value that is not its default."""

from __future__ import annotations

from typing import Any

_SUM = "sha256:" + "0a" * 32
_LIMITS = {"cpu": 50, "memory": 64, "memory_max": 128}
_FILES = {"a.conf": {"content": "aGVsbG8=", "base64": True, "mode": "0600"}, "b.py": {"source": "b.py"}}
_TEMPLATES = {
    "t.conf": {"content": '{{ env "PORT" }}', "change": "signal", "signal": "SIGHUP", "splay": "1s", "mode": "0600"},
    "u.conf": {"source": "u.conf"},
}
_SECRETS = {
    "DB_PASSWORD": {"ref": "vault:secret/whole#password", "change": "none"},
    "key": {"ref": "vault:secret/whole#key", "file": "key", "mode": "0640", "change": "signal", "signal": "SIGHUP"},
    "tls": {"ref": "pki", "file": "tls.pem", "names": ["whole.gov"], "ttl": "24h"},
}
_ARTIFACTS = [{"source": "https://files.gov/a.tar.gz", "checksum": _SUM, "destination": "data", "unpack": False}]
_ABOUT = {
    "owner": "tax-team",
    "description": "äöü 日本 \U0001f600\nand a line",
    "links": {"Runbook": "https://wiki.gov/a"},
}

SERVICE: dict[str, Any] = {
    "name": "whole-svc",
    "kind": "service",
    "version": "1.0.0",
    "image": "ghcr.io/gov/receipt@sha256:" + "0" * 64,
    "args": ["--say", "${NOMAD_JOB_NAME} {{ x }}"],
    "driver": "docker",
    "user": "10001",
    "port": 3000,
    "protocol": "http",
    "routes": [{"path": "/a", "match": "exact", "methods": ["GET", "POST"], "public": True, "timeout": "2s"}],
    "scaling": {
        "min": 2,
        "max": 9,
        "cpu": {"high": 80, "low": 20},
        "memory": {"high": 85, "low": 40},
        "requests_per_instance": 50,
        "latency_p99": "300ms",
        "schedule": [{"at": "07:30", "until": "18:00", "days": ["mon", "fri"], "min": 4}],
        "every": "20s",
        "cooldown": "90s",
    },
    "health": {"kind": "http", "path": "/ready", "interval": "5s", "timeout": "2s"},
    "probes": {"gve": {"path": "/gve", "method": "POST", "timeout": "3s"}},
    "env": {"LEVEL": "quotes \" ' and ${x} {{ y }} ä\n"},
    "secrets": _SECRETS,
    "files": _FILES,
    "templates": _TEMPLATES,
    "artifacts": _ARTIFACTS,
    "volumes": {
        "held": {
            "kind": "host",
            "source": "held",
            "path": "/held",
            "read_only": True,
            "access": "single-node-reader-only",
        },
        "kept": {
            "kind": "csi",
            "source": "kept",
            "path": "/kept",
            "access": "multi-node-multi-writer",
            "attachment": "file-system",
        },
        "seen": {"kind": "bind", "source": "/srv/seen", "path": "/seen"},
    },
    "tasks": {
        "ship": {
            "hook": "sidecar",
            "image": "ghcr.io/gov/ship@sha256:" + "0" * 64,
            "args": ["all"],
            "driver": "docker",
            "user": "app",
            "env": {"TO": "x"},
            "secrets": _SECRETS,
            "resources": _LIMITS,
            "files": _FILES,
            "templates": _TEMPLATES,
            "artifacts": _ARTIFACTS,
            "mounts": {"kept": "/kept"},
        },
        "move": {"hook": "prestart", "image": "ghcr.io/gov/move@sha256:" + "0" * 64},
    },
    "resources": _LIMITS,
    "placement": {
        "datacenters": ["dc1", "eu-*"],
        "node_pool": "all",
        "constraints": [{"attribute": "attr.kernel.name", "operator": "!=", "value": "windows"}],
        "distinct_hosts": True,
        "spread": [{"attribute": "node.datacenter", "weight": 60, "targets": {"dc1": 70, "dc2": 30}}],
    },
    "actions": {"look": {"command": ["bin/look", "--all"]}},
    "uses": ["db-svc", "tax-svc"],
    "tcp": {"db-svc": 5432},
    "allow": ["portal"],
    "mesh": {
        "timeout": "9s",
        "retries": 2,
        "retry_on": ["reset"],
        "retry_methods": ["GET"],
        "connect_timeout": "2s",
        "balance": "least_request",
        "max_connections": 500,
    },
    "rollout": {
        "strategy": "canary",
        "steps": [5, 50, 100],
        "every": "40s",
        "success": 98.5,
        "p99": "400ms",
        "slower": 2,
        "min_requests": 10,
        "on_no_traffic": "probe",
        "min_healthy": "4s",
        "deadline": "3m",
        "drain": "12s",
        "keep": "45s",
    },
    **_ABOUT,
    "nomad": {"job": {"Priority": 70}, "group": {"EphemeralDisk": {"SizeMB": 100}}, "task": {"KillSignal": "SIGINT"}},
}

PROCESS: dict[str, Any] = {
    "name": "whole-process",
    "version": "1.0.0",
    "command": ["bin/serve", "--port", "3000"],
    "driver": "exec",
    "port": 3000,
    "health": {"kind": "command", "command": ["bin/ready"], "interval": "10s", "timeout": "1s"},
    "tasks": {"move": {"hook": "poststop", "command": ["bin/move"], "driver": "exec"}},
}

GRPC: dict[str, Any] = {
    "name": "whole-grpc",
    "version": "1.0.0",
    "image": "a/b:1",
    "port": 3000,
    "protocol": "grpc",
    "health": {"kind": "grpc", "service": "gov.Receipts"},
}

PUBLIC: dict[str, Any] = {
    "name": "whole-public",
    "version": "1.0.0",
    "image": "a/b:1",
    "port": 3000,
    "routes": [
        {
            "path": "/v1/a",
            "methods": ["GET"],
            "public": True,
            "rewrite": "/a",
            "limit": "10/s",
            "headers": {
                "request": {"set": {"x-api": "v1"}, "remove": ["x-debug"]},
                "response": {"set": {"x-by": "tax-team"}, "remove": ["server"]},
            },
        }
    ],
    "gateway": {"hosts": ["api.agency.gov"], "jwt": {"provider": "agency-idp", "claims": {"role": "auditor"}}},
}

BUILT: dict[str, Any] = {
    "name": "whole-built",
    "version": "1.0.0",
    "image": "ghcr.io/gov/built:1.0.0",
    "port": 3000,
    "build": {
        "context": "app",
        "dockerfile": "Dockerfile.small",
        "target": "small",
        "args": {"PROFILE": "small"},
        "platforms": ["linux/amd64"],
        "cache": False,
        "exclude": ["tests/**"],
    },
}

MADE: dict[str, Any] = {
    **BUILT,
    "name": "whole-made",
    "build": {"language": "python", "entry": ["python3", "app.py"]},
}

JOB: dict[str, Any] = {
    "name": "whole-job",
    "kind": "job",
    "version": "1.0.0",
    "image": "a/b:1",
    "schedule": {"cron": "0 3 * * *", "timezone": "Europe/Berlin", "overlap": True},
    "attempts": {"most": 3, "delay": "1m"},
}

EXTERNAL: dict[str, Any] = {
    "name": "whole-external",
    "kind": "external",
    "version": "1.0.0",
    "host": "db.agency.gov",
    "port": 443,
    "tls": {"ca_file": "/etc/ssl/ca.pem", "server_name": "db.agency.gov"},
}

WHOLE = (SERVICE, PROCESS, GRPC, PUBLIC, BUILT, MADE, JOB, EXTERNAL)
