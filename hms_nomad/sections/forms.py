"""The forms of texts that specs and contexts both have."""

DNS_LABEL = r"^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$"
RATE = r"^[1-9][0-9]{0,6}/[smh]$"
