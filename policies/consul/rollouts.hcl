# What the job that drives rollouts needs: entries and intentions of services whose names start alike, and the journals.
service_prefix "{services}" {
  policy     = "write"
  intentions = "write"
}

# Who calls a service decides whose proxy is asked; Consul shows health only to who may read nodes.
service_prefix "" {
  policy = "read"
}

node_prefix "" {
  policy = "read"
}

mesh = "read"

key_prefix "hms-nomad/" {
  policy = "write"
}

session_prefix "" {
  policy = "write"
}
