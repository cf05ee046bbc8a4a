# What the controller does, where Nomad has ACLs: it reads jobs, deployments and allocations, pauses and promotes deployments (submit-job), stops
# allocations (alloc-lifecycle), and puts off the deadlines of drains (node write).
namespace "*" {
  capabilities = ["read-job", "submit-job", "alloc-lifecycle"]
}

node {
  policy = "write"
}
