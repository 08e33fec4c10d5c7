# Run the platform's own jobs (gateways, autoscaler) in one namespace, beside everything that a deployer may do there.
namespace "{namespace}" {
  capabilities = [
    "list-jobs",
    "read-job",
    "read-logs",
    "plan-job",
    "register-job",
    "deregister-job",
    "purge-job",
    "scale-job",
    "dispatch-job",
    "revert-job",
    "tag-job-version",
    "promote-deployment",
    "fail-deployment",
    "pause-deployment",
  ]
}

node {
  policy = "read"
}

agent {
  policy = "read"
}
