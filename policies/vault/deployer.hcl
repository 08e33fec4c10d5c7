# Keep the roles and policies through which services read their own secrets; read no secret.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}

path "auth/token/renew-self" {
  capabilities = ["update"]
}

path "auth/jwt-nomad/role/hms-*" {
  capabilities = ["create", "read", "update", "delete"]
}

path "sys/policies/acl/hms-*" {
  capabilities = ["create", "read", "update", "delete"]
}
