"""The gate of CI on ratios: ours beside what one would take instead, in one run on one machine."""
