"""The mesh: who may call whom and how, calls into it, and the registry of what is in it."""
