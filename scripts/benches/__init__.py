"""The benches behind ``scripts/bench``: ours beside what a user would take instead, and beside the limit."""
