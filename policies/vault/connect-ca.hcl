# What Consul needs to let Vault sign the certificates of the mesh, with mounts that it makes and tends itself.
# Each rotation takes mounts of the next number, such as connect-root-2.
path "sys/mounts/connect-root" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

path "sys/mounts/connect-root-*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

path "sys/mounts/connect-intermediate" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

path "sys/mounts/connect-intermediate-*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

path "sys/mounts/connect-root/tune" {
  capabilities = ["update"]
}

path "sys/mounts/connect-intermediate/tune" {
  capabilities = ["update"]
}

path "connect-root/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

path "connect-root-*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

path "connect-intermediate/*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

path "connect-intermediate-*" {
  capabilities = ["create", "read", "update", "delete", "list"]
}

path "connect-root/" {
  capabilities = ["read"]
}

path "auth/token/renew-self" {
  capabilities = ["update"]
}

path "auth/token/lookup-self" {
  capabilities = ["read"]
}
