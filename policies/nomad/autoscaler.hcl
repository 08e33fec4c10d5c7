# What nomad-autoscaler itself needs: read scaling policies and metrics, set counts.
namespace "{namespace}" {
  policy = "scale"
}
