# Beside the viewer's policy: ask the scheduler what it would do with a new release; register nothing.
namespace "{namespace}" {
  capabilities = ["plan-job"]
}
