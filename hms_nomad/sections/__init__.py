"""Frozen sections: what specs, contexts and rule files are made of, how data becomes one, and what it may hold."""
