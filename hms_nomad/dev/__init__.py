"""The stack on one machine, for development: real servers in, a context for every other command out."""
