# What the job that answers what the registry knows needs: read services, their health, and the entries about them.
service_prefix "" {
  policy = "read"
}

# Without it Consul answers every question about health with an empty list, and no error.
node_prefix "" {
  policy = "read"
}

# Which of the gateway's routes are bound.
mesh = "read"
