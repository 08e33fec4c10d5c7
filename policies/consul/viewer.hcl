# Read the registry, the mesh's rules, locks and journals; change nothing.
# Who may read a service may read who calls it.
service_prefix "" {
  policy = "read"
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
