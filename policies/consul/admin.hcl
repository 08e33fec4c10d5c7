# Beside the operator's policy: lay the foundation. Whoever writes access lists can give every right, to anybody.
acl = "write"
