# Plan, deploy, promote, roll back, scale and stop services in one namespace, and run commands in their instances.
namespace "{namespace}" {
  capabilities = [
    "list-jobs",
    "read-job",
    "read-logs",
    "alloc-exec",
    "plan-job",
    "register-job",
    "deregister-job",
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
