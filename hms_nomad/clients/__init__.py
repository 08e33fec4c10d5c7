"""Typed clients of Nomad, Consul and Vault, the only importers of their libraries."""
