# What the gateway's own task needs: read the mesh's rules, and be the service of its name.
service "{gateway}" {
  policy = "write"
}

service_prefix "" {
  policy = "read"
}

node_prefix "" {
  policy = "read"
}

mesh = "read"
