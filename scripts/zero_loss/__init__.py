"""Does changing what runs lose requests? Asked of a real Nomad, Consul and Envoy, under load."""
