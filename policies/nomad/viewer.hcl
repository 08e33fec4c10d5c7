# Read services, their instances, deployments and logs; change nothing.
namespace "{namespace}" {
  capabilities = ["list-jobs", "read-job", "read-logs"]
}

# Status tells which node an instance runs on, doctor which drivers the nodes have.
node {
  policy = "read"
}

# Versions of the servers.
agent {
  policy = "read"
}
