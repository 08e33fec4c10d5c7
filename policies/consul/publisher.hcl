# Beside the deployer's policy: open routes to the outside. Consul knows one right for all routes of all services.
mesh = "write"
