"""Platform -> what a caller's proxy does beyond Consul's own settings, so that a failing instance loses no request.

It sends more requests again at the same time. Envoy's own number is 3 for each cluster, so when an instance fails under
load, most of its requests are answered as they failed. Consul has no setting for it (1.20), while Envoy takes another
number from its admin page, by the name of a cluster; clusters come and go with releases, so a script in the proxy looks
for new ones while requests pass.

And it leaves a failing instance out as soon as it knows. Envoy tells its workers of at most one such change a second
and cluster, so an instance that came back and failed again was asked for that second all the same.
"""

from __future__ import annotations

import json
from typing import Any

from hms_nomad.platform.model import Platform
from hms_nomad.spec.model import Spec

ENVOYS_OWN = 3
"""Requests that Envoy sends again at the same time, to one cluster, where nobody says otherwise."""

ADMIN_LAYER = {"name": "admin", "admin_layer": {}}
"""The part of Envoy's runtime that its admin page may change; it is the last of the layers, so that it decides."""

# Clusters of the mesh have names with ".internal." in them. Their names become part of one request's path, which
# Envoy lets be 60 KiB long; what does not fit is for the next look.
_SCRIPT = """
local looked

local function admin(handle, method, path, forget)
  local headers = {[":method"] = method, [":path"] = path, [":authority"] = "admin"}
  local options = {timeout_ms = 1000, asynchronous = forget, trace_sampled = false}
  local _, text = handle:httpCall("self_admin", headers, "", options)
  return text
end

function envoy_on_request(handle)
  local now = handle:timestamp()
  if looked and now - looked < 2000 then
    return
  end
  looked = now
  local told = {}
  local clusters = "\\n" .. (admin(handle, "GET", "/clusters", false) or "")
  for name in clusters:gmatch("\\n([^\\n:]+)::default_priority::max_retries::3\\r?\\n") do
    if #told < 200 and name:find(".internal.", 1, true) then
      told[#told + 1] = "circuit_breakers." .. name .. ".default.max_retries=" .. retries_at_once
    end
  end
  if #told > 0 then
    admin(handle, "POST", "/runtime_modify?" .. table.concat(told, "&"), true)
  end
end
"""
_EACH_CHANGE_AT_ONCE = {
    "ResourceFilter": {"ResourceType": "cluster", "TrafficDirection": "outbound"},
    "Op": "add",
    "Path": "/common_lb_config/update_merge_window/seconds",
    "Value": 0,
}
_NUMBER = "local retries_at_once = "


def sends_again(spec: Spec, platform: Platform) -> bool:
    """Whether the service's sidecars are to send more requests again at once than Envoy does by itself.

    A job that runs to its end has no entry in the mesh that could carry the script.
    """
    calls = any(name not in spec.tcp for name in spec.uses)
    return calls and spec.kind == "service" and platform.sidecar.retries_at_once != ENVOYS_OWN


def script(platform: Platform) -> str:
    """The script (Lua) for a proxy whose runtime has the layer ``ADMIN_LAYER``; "" where Envoy's own number holds."""
    most = platform.sidecar.retries_at_once
    return "" if most == ENVOYS_OWN else f"{_NUMBER}{most}{_SCRIPT}"


def at_once(text: str) -> int:
    """Such a script, or any other -> the number of requests that a proxy with it sends again at the same time."""
    first, _, _ = text.partition("\n")
    return int(first.removeprefix(_NUMBER)) if first.startswith(_NUMBER) else ENVOYS_OWN


def arguments(spec: Spec, platform: Platform) -> tuple[str, ...]:
    """Arguments of Envoy for a sidecar, by which its admin page may change its runtime."""
    if not sends_again(spec, platform):
        return ()
    return "--config-yaml", json.dumps({"layered_runtime": {"layers": [ADMIN_LAYER]}}, separators=(",", ":"))


def extensions(spec: Spec, platform: Platform) -> list[dict[str, Any]]:
    """The extensions of the sidecars of a service that calls others (service-defaults, ``EnvoyExtensions``)."""
    found = [lua("outbound", script(platform))] if sends_again(spec, platform) else []
    return (
        [*found, _extension("builtin/property-override", {"Patches": [_EACH_CHANGE_AT_ONCE]})] if spec.uses else found
    )


def lua(listener: str, text: str) -> dict[str, Any]:
    """A script as an extension of sidecars; ``listener`` is "inbound" or "outbound" (Consul, ``builtin/lua``)."""
    return _extension("builtin/lua", {"Listener": listener, "Script": text})


def _extension(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {
        "Name": name,
        "Required": True,
        "ConsulVersion": "",
        "EnvoyVersion": "",
        "Arguments": {"ProxyType": "connect-proxy", **arguments},
    }
