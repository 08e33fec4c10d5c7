# What nomad-autoscaler itself needs: read scaling policies and metrics, set counts, and agree on a leader by a lock.
namespace "{namespace}" {
  policy = "scale"

  variables {
    path "hms-nomad/autoscaler/leader" {
      capabilities = ["read", "write"]
    }
  }
}
