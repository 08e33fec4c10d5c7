# What the job that drives rollouts needs: read a namespace's jobs, finish their deployments, and put an old job back.
namespace "{namespace}" {
  capabilities = [
    "list-jobs",
    "read-job",
    "read-logs",
    "register-job",
    "tag-job-version",
    "promote-deployment",
    "fail-deployment",
  ]
}
