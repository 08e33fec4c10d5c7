# What the egress's own task needs: be the service of its name, and every external service behind it.
# Whoever may be a service may read by which keys tokens are checked.
service "{egress}" {
  policy = "write"
}

service_prefix "{services}" {
  policy = "write"
}

service_prefix "" {
  policy = "read"
}

node_prefix "" {
  policy = "read"
}
