# An application beside an agent: the example that comes with the binary. Copy it for your own.
#
# The agent is a prestart sidecar and the leader of its group. As a sidecar it runs before the application starts. As the leader it is stopped
# first, and the application only when it has ended: it drains, while the application still serves. Without `leader` Nomad would stop the
# application first, and whoever asks for its shards would wait until they are placed anew.
#
# Two paces (docs/deploy.md). With `controller = false` Nomad goes from one allocation to the next by itself. With `controller = true` it waits for
# shardmanager-controller (controller.nomad.hcl), which asks the leader for each: caps, maintenance windows and what failed already are minded.
#
# The agent's name ends with the allocation's short id: by that the controller knows whose server it is.
#
#   nomad job run kv.nomad.hcl
#   nomad job run -var release=2 kv.nomad.hcl         # a new version
#   nomad alloc stop ALLOCATION                       # drains, then stops both
#   nomad alloc signal -s SIGUSR2 ALLOCATION agent    # replaces the agent, in the same process, while the application serves on
#
# A drain may take kill_timeout, which the client's max_kill_timeout caps (30 s unless it is raised there).

variable "binary" {
  type        = string
  description = "Path of shardmanager on every host."
  default     = "/usr/local/bin/shardmanager"
}

variable "cluster" {
  type    = string
  default = "prod"
}

variable "servers" {
  type        = number
  description = "How many servers the app has."
  default     = 3
}

variable "store" {
  type        = string
  description = "Coordination store: consul or embedded."
  default     = "consul"
}

variable "consul_addresses" {
  type        = string
  description = "Where Consul answers, separated by commas."
  default     = "127.0.0.1:8500"
}

variable "store_address" {
  type        = string
  description = "Where the embedded store answers."
  default     = "127.0.0.1:7450"
}

variable "one_host" {
  type        = bool
  description = "True: all on one host, to try it out."
  default     = false
}

variable "controller" {
  type        = bool
  description = "True: shardmanager-controller says when who may go."
  default     = false
}

variable "release" {
  type        = string
  description = "Version of the application; another one makes Nomad deploy the job anew."
  default     = "1"
}

job "kv" {
  update {
    max_parallel      = 1
    canary            = var.controller ? 1 : 0 # nobody is stopped before the new version serves and the controller promotes it
    auto_promote      = false
    health_check      = "checks"
    min_healthy_time  = "10s" # time to get its shards back before the next one is drained
    healthy_deadline  = "5m"
    progress_deadline = var.controller ? "0s" : "10m" # it may be held for long; the first allocation that is not healthy ends it
  }

  migrate {
    max_parallel     = var.controller ? 0 : 1 # 0: the controller stops them, or the deadline of the drain does
    health_check     = "checks"
    min_healthy_time = "10s"
  }

  group "kv" {
    count = var.servers

    dynamic "constraint" {
      for_each = var.one_host ? [] : [true]
      content {
        operator = "distinct_hosts"
        value    = "true"
      }
    }

    network {
      port "agent" {}
      port "admin" {}
      port "kv" {}
    }

    # For health, and for clients that know Nomad better than shards. Those are given a second to hear that it goes.
    service {
      provider = "nomad"
      name     = "kv"
      port     = "kv"

      check {
        type     = "tcp"
        interval = "2s"
        timeout  = "1s"
      }
    }

    # The agent's metrics, for Prometheus, and whether the application beside it may serve: a deployment goes on once it may.
    service {
      provider = "nomad"
      name     = "shardmanager-agent-admin"
      port     = "admin"

      check {
        type     = "http"
        path     = "/readyz"
        interval = "2s"
        timeout  = "1s"
      }
    }

    shutdown_delay = "1s"

    meta {
      release = var.release
    }

    # Both come back at once, however often: an agent within 30 s of a planned restart, an application before its shards go elsewhere.
    restart {
      attempts = 10
      interval = "1m"
      delay    = "100ms"
      mode     = "delay"
    }

    task "agent" {
      driver = "raw_exec" # it must see the application's process: with exec each would be in a pid namespace of its own
      leader = true

      lifecycle {
        hook    = "prestart"
        sidecar = true
      }

      config {
        command = var.binary
        args = [
          "agent",
          "--cluster", var.cluster,
          "--name", "kv-${NOMAD_SHORT_ALLOC_ID}", # of two at once, such as across a partition, each has its own
          "--region", "${NOMAD_REGION}",
          "--zone", "${NOMAD_DC}",
          "--host", var.one_host ? "${NOMAD_ALLOC_ID}" : "${node.unique.name}", # two replicas of a shard are never on one
          "--listen", "${NOMAD_ADDR_agent}",
          "--admin-listen", "${NOMAD_ADDR_admin}",
          "--socket", "unix://${NOMAD_ALLOC_DIR}/agent.sock",
          "--state-dir", "${NOMAD_TASK_DIR}/state",
          "--drain-timeout", "25s",
          "--store", var.store,
          "--store-address", var.store_address,
          "--consul-addresses", var.consul_addresses,
        ]
      }

      kill_signal  = "SIGTERM"
      kill_timeout = "30s" # above drain-timeout

      resources {
        cpu    = 100
        memory = 128
      }
    }

    task "kv" {
      driver = "raw_exec"

      config {
        command = var.binary
        args = [
          "example-kv", "serve",
          "--mode", "primary-secondary",
          "--agent", "unix://${NOMAD_ALLOC_DIR}/agent.sock",
          "--listen", "${NOMAD_ADDR_kv}",
        ]
      }

      kill_signal  = "SIGTERM"
      kill_timeout = "15s"

      resources {
        cpu    = 200
        memory = 256
      }
    }
  }
}
