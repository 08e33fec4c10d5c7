# Look at one's own token; read no secret. Certificates of authorities are shown to everybody.
path "auth/token/lookup-self" {
  capabilities = ["read"]
}
