# Look at one's own token, and at the certificates that services get; read no secret.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}

path "pki/cert/ca" {
  capabilities = ["read"]
}

path "pki_int/cert/ca" {
  capabilities = ["read"]
}
