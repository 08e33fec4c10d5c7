"""hms-nomad: one short file becomes a meshed, scaled and safely rolled out service on Nomad, Consul and Vault."""

__version__ = "0.1.0"
