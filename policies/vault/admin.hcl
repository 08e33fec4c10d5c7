# Lay the foundation and rotate what signs the mesh. Whoever writes policies and ways in can read every secret in the end.
path "sys/mounts" {
  capabilities = ["read"]
}

path "sys/mounts/secret" {
  capabilities = ["update", "delete"]
}

path "sys/mounts/pki" {
  capabilities = ["update", "delete"]
}

path "sys/mounts/pki-root" {
  capabilities = ["update", "delete"]
}

path "sys/mounts/+/tune" {
  capabilities = ["update"]
}

# What a rotation of the mesh's authority leaves behind.
path "sys/mounts/connect-intermediate*" {
  capabilities = ["delete"]
}

path "sys/auth" {
  capabilities = ["read"]
}

# Vault wants sudo of whoever makes a way in.
path "sys/auth/jwt-nomad" {
  capabilities = ["update", "delete", "sudo"]
}

path "auth/jwt-nomad/config" {
  capabilities = ["read", "update"]
}

# The gateway's own role, where it has TLS.
path "auth/jwt-nomad/role/hms-*" {
  capabilities = ["read", "create", "update", "delete"]
}

path "pki/roles/hms-*" {
  capabilities = ["read", "update", "delete"]
}

path "sys/policies/acl/hms-*" {
  capabilities = ["read", "update", "delete"]
}

path "pki-root/root/generate/internal" {
  capabilities = ["update"]
}

path "pki-root/root/sign-intermediate" {
  capabilities = ["update"]
}

path "pki/intermediate/generate/internal" {
  capabilities = ["update"]
}

path "pki/intermediate/set-signed" {
  capabilities = ["update"]
}

# A mount that holds secrets is not taken away.
path "secret/metadata" {
  capabilities = ["list"]
}

# Consul's own token has a policy that this one does not have, and Vault wants sudo for that.
path "auth/token/create-orphan" {
  capabilities = ["update", "sudo"]
}
