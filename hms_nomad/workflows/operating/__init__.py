"""What runs, looked at and looked after: status, logs, counts, locks, leftovers, logins."""
