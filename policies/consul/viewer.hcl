# Read the registry, the mesh's rules, locks and journals; change nothing.
service_prefix "" {
  policy     = "read"
  intentions = "read"
}

# Without it Consul answers every question about health with an empty list, and no error.
node_prefix "" {
  policy = "read"
}

agent_prefix "" {
  policy = "read"
}

# Gateways and their routes.
mesh = "read"

key_prefix "hms-nomad/" {
  policy = "read"
}

session_prefix "" {
  policy = "read"
}
