# Run the platform's own jobs (gateways, autoscaler) in one namespace, beside everything that a deployer may do there.
# Whoever may purge a job may stop it.
namespace "{namespace}" {
  capabilities = [
    "list-jobs",
    "read-job",
    "read-logs",
    "alloc-exec",
    "alloc-node-exec",
    "plan-job",
    "register-job",
    "purge-job",
    "scale-job",
    "dispatch-job",
    "tag-job-version",
    "promote-deployment",
    "fail-deployment",
  ]
}

node {
  policy = "read"
}

agent {
  policy = "read"
}
