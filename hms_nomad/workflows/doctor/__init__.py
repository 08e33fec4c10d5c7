"""What the doctor asks, and what it judges of the answers."""
