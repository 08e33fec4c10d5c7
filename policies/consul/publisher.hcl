# Beside the deployer's policy: open routes to the outside, and ways to it. Consul knows one right for those of all services.
mesh = "write"

# External services stand in the catalog at places of their own.
node_prefix "hms-external-" {
  policy = "write"
}
