"""First specs, out of answers, sources, compose files and running jobs."""
