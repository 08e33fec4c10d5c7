# It reaches Nomad by the socket that Nomad gives to each task, as the job that it is: no address, no token of its own.
nomad {
  address   = "{{ with env "NOMAD_UNIX_ADDR" }}{{ . }}{{ else }}unix://{{ env "NOMAD_SECRETS_DIR" }}/api.sock{{ end }}"
  namespace = {namespaces}
}

http {
  bind_address = "{{ env "NOMAD_IP_http" }}"
  bind_port    = {{ env "NOMAD_PORT_http" }}
}

# The leader alone scales; another takes over when its lock runs out.
high_availability {
  enabled        = {elected}
  lock_namespace = "{namespace}"
  lock_path      = "hms-nomad/autoscaler/leader"
  lock_ttl       = "15s"
  lock_delay     = "5s"
}

policy {
  default_cooldown            = "1m"
  default_evaluation_interval = "15s"
}

telemetry {
  prometheus_metrics = true
  disable_hostname   = true
}

# With an address that does not answer, every policy would stop: a query that fails ends a whole evaluation.
{{ range $number, $instance := service "{telemetry}" }}{{ if eq $number 0 }}
apm "prometheus" {
  driver = "prometheus"
  config = {
    address = "http://{{ .Address }}:{{ .Port }}"
  }
}
{{ end }}{{ end }}
