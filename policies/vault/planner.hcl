# Beside the viewer's policy: compare the roles and policies through which services read their secrets; read no secret.
path "auth/jwt-nomad/role/hms-svc-*" {
  capabilities = ["read"]
}

path "sys/policies/acl/hms-svc-*" {
  capabilities = ["read"]
}

path "pki/roles/hms-svc-*" {
  capabilities = ["read"]
}
