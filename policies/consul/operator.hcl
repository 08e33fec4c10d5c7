# Gateways, routes, the mesh's defaults and its certificate authority: what Consul gives to operators holds for its mesh, too.
operator = "write"

service_prefix "" {
  policy     = "write"
  intentions = "write"
}

node_prefix "" {
  policy = "read"
}

agent_prefix "" {
  policy = "read"
}

key_prefix "hms-nomad/" {
  policy = "write"
}

session_prefix "" {
  policy = "write"
}
