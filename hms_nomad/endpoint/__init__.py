"""The registry over HTTP, read-only, for programs in any language: ``hms-nomad registry serve``."""
