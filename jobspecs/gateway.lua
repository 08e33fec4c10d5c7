-- An answer of a service or its sidecar -> what the outside gets: words of the mesh itself become JSON with the request id.
-- A route of last resort marks requests whose path is known and whose method is not; its header names the known ones.

-- Another header says that a token is asked for, so that a refusal is one of the caller's identity.

local MARK = "x-hms-allow"
local TOKEN = "x-hms-token"

local function quoted(text)
  return '"' .. text:gsub('[%c"\\]', ' ') .. '"'
end

local function say(handle, status, what)
  local headers = handle:headers()
  local id = headers:get("x-request-id") or ""
  local text = '{"error":' .. quoted(what) .. ',"request_id":' .. quoted(id) .. ',"status":' .. status .. '}\n'
  headers:replace(":status", tostring(status))
  headers:replace("content-type", "application/json")
  headers:remove("content-encoding")
  headers:replace("content-length", tostring(handle:body(true):setBytes(text)))
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local known = headers:get(MARK)
  if known then
    headers:remove(MARK)
    headers:replace("allow", known)
    say(handle, 405, "this path answers " .. known)
    return
  end
  local issuer = headers:get(TOKEN)
  headers:remove(TOKEN)
  if headers:get(":status") ~= "403" or headers:get("content-length") ~= "19" then
    return
  end
  local body = handle:body()
  if body and body:length() == 19 and body:getBytes(0, 19) == "RBAC: access denied" then
    if issuer then
      handle:headers():replace("www-authenticate", 'Bearer realm="' .. issuer .. '"')
      say(handle, 401, "this asks for a valid token of " .. issuer)
      return
    end
    say(handle, 403, "the service does not answer this to the outside")
  end
end
