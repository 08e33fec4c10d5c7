"""What happens on the platform, as CloudEvents."""
