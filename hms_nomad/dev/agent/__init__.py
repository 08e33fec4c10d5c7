"""The embedded agent: the part of Nomad's HTTP API that this program uses, on one machine, for development only."""
