"""Spec -> the Lua script of the instance's own sidecar: it keeps the limits of routes, and says who was refused.

Consul's rate limits of services are part of its paid edition, while any sidecar runs scripts. Sidecars have one
worker, so a script's variables are those of the instance.
"""

from __future__ import annotations

import json
from typing import Any

from hms_nomad.compile.names import UNIT_SECONDS
from hms_nomad.compile.outbound import lua
from hms_nomad.platform.model import Platform
from hms_nomad.spec.model import Route, Spec

_SCRIPT = """
local function quoted(text)
  return '"' .. text:gsub('[%c"\\\\]', ' ') .. '"'
end

local function fits(route, method, path)
  if route.methods and not route.methods[method] then
    return false
  end
  if route.exact then
    return path == route.path
  end
  return path:sub(1, #route.path) == route.path
end

function envoy_on_request(handle)
  local headers = handle:headers()
  local path = headers:get(":path"):match("^[^?]*")
  local method = headers:get(":method")
  for _, route in ipairs(routes) do
    if fits(route, method, path) then
      if not route.most then
        return
      end
      local now = handle:timestamp()
      local gained = (now - (route.at or now)) * route.most / route.every
      route.left = math.min(route.most, (route.left or route.most) + gained)
      route.at = now
      if route.left >= 1 then
        route.left = route.left - 1
        return
      end
      local id = headers:get("x-request-id") or ""
      local wait = math.ceil((1 - route.left) * route.every / route.most / 1000)
      handle:respond({[":status"] = "429", ["content-type"] = "application/json",
        ["retry-after"] = tostring(wait), ["x-request-id"] = id},
        '{"error":"an instance takes ' .. route.said .. '","request_id":' .. quoted(id) .. ',"status":429}\\n')
      return
    end
  end
end
"""


REFUSAL = "RBAC: access denied"
"""Envoy's words to a caller that intentions refuse; what the script adds stands behind them."""

# The gateway has words of its own for the outside. Of a request that was refused before it came to this script only
# the answer passes by, so the path is not known here.
_REFUSED = f"""
function envoy_on_response(handle)
  local headers = handle:headers()
  if headers:get(":status") ~= "403" or headers:get("content-length") ~= "{len(REFUSAL)}" then
    return
  end
  local body = handle:body(true)
  if body:length() ~= {len(REFUSAL)} or body:getBytes(0, {len(REFUSAL)}) ~= "{REFUSAL}" then
    return
  end
  local secured = handle:streamInfo():downstreamSslConnection()
  local names = secured and secured:uriSanPeerCertificate() or {{}}
  local caller = (names[1] or ""):match("/svc/([^/]+)$")
  if not caller or caller == gateway then
    return
  end
  local text = "{REFUSAL}: " .. caller .. " may not make this request to " .. service ..
    "; declare uses: [" .. service .. "] in the spec of " .. caller ..
    ", or see: hms-nomad mesh can-i " .. caller .. " " .. service .. "\\n"
  headers:replace("content-length", tostring(body:setBytes(text)))
end
"""


def extensions(spec: Spec, platform: Platform) -> list[dict[str, Any]]:
    """The extension of the service's sidecars with that script (service-defaults, ``EnvoyExtensions``), or none."""
    script = ""
    if any(route.limit for route in spec.routes):
        script += "local routes = {" + ", ".join(map(_row, spec.routes)) + "}\n" + _SCRIPT
    if answers_strangers(spec, platform):
        gateway = platform.gateway.name if platform.gateway else ""
        script += f"local service, gateway = {json.dumps(spec.name)}, {json.dumps(gateway)}\n" + _REFUSED
    return [lua("inbound", script)] if script else []


def answers_strangers(spec: Spec, platform: Platform) -> bool:
    """Whether callers that declared nothing get to the service's sidecar, by transparent proxies, and are told why they
    are refused.
    """
    return platform.sidecar.transparent_proxy and spec.kind == "service" and spec.protocol in ("http", "http2")


def _row(route: Route) -> str:
    # The instance's sidecar sees paths as callers' sidecars have rewritten them. Lua reads JSON's strings.
    fields = [f"path = {json.dumps(route.rewrite or route.path)}"]
    if route.match == "exact":
        fields.append("exact = true")
    if route.methods:
        fields.append("methods = {" + ", ".join(f"{method} = true" for method in route.methods) + "}")
    if route.limit:
        most, _, unit = route.limit.partition("/")
        fields.append(f"most = {most}, every = {UNIT_SECONDS[unit] * 1000}, said = {json.dumps(route.limit)}")
    return "{" + ", ".join(fields) + "}"
