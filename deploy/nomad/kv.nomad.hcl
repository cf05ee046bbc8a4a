# An application beside an agent: the example that comes with the binary. Copy it for your own.
#
# The agent is a prestart sidecar and the leader of its group. As a sidecar it runs before the application starts. As the leader it is stopped
# first, and the application only when it has ended: it drains, while the application still serves. Without `leader` Nomad would stop the
# application first, and whoever asks for its shards would wait until they are placed anew.
#
#   nomad job run kv.nomad.hcl
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

job "kv" {
  update {
    max_parallel     = 1
    health_check     = "task_states"
    min_healthy_time = "10s" # time to get its shards back before the next one is drained
  }

  migrate {
    max_parallel     = 1
    health_check     = "task_states"
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
      port "kv" {}
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
