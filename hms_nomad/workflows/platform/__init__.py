"""The platform's own parts: what services need before the first one, its jobs, its gateway, its way out."""
