"""The certificates of a cluster: looked at, issued, rotated."""
