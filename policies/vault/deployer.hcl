# Keep the roles and policies through which services read their own secrets; read no secret.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}

path "auth/jwt-nomad/role/hms-svc-*" {
  capabilities = ["create", "read", "update", "delete"]
}

path "sys/policies/acl/hms-svc-*" {
  capabilities = ["read", "update", "delete"]
}

path "pki/roles/hms-svc-*" {
  capabilities = ["read", "update", "delete"]
}

# What earlier releases might read is found by name, and taken away.
path "auth/jwt-nomad/role" {
  capabilities = ["list"]
}

path "sys/policies/acl" {
  capabilities = ["list"]
}

path "pki/roles" {
  capabilities = ["list"]
}
