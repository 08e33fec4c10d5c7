# Write the config entries and intentions of the services whose names start with the given prefix.
service_prefix "{services}" {
  policy     = "write"
  intentions = "write"
}

# The names under which `call` and `connect` speak to services.
service_prefix "hms-operator-" {
  policy = "write"
}

# A service's rules name others, which must be readable; deny-by-default entries of others stay untouchable.
service_prefix "" {
  policy = "read"
}

node_prefix "" {
  policy = "read"
}

agent_prefix "" {
  policy = "read"
}

# Reading gateways tells whether a route is bound; writing routes is the publisher's right.
mesh = "read"

# Locks and journals of deploys.
key_prefix "hms-nomad/" {
  policy = "write"
}

session_prefix "" {
  policy = "write"
}
