# Three allocators, on three hosts; one of them leads.
#
#   nomad job run allocators.nomad.hcl                                                          # Consul on every host
#   nomad job run -var store=embedded -var store_address=10.0.0.1:7450 allocators.nomad.hcl     # after store.nomad.hcl

variable "binary" {
  type        = string
  description = "Path of shardmanager on every host."
  default     = "/usr/local/bin/shardmanager"
}

variable "cluster" {
  type    = string
  default = "prod"
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

variable "port" {
  type        = number
  description = "Port for agents and routers; 0: any."
  default     = 7410
}

variable "admin_port" {
  type        = number
  description = "Port for operators; 0: any."
  default     = 7440
}

variable "one_host" {
  type        = bool
  description = "True: all on one host, to try it out; the ports must be 0 then."
  default     = false
}

job "shardmanager-allocators" {
  # One after the other, and the next when the last has come up: a leader that is stopped hands its lock over.
  update {
    max_parallel     = 1
    health_check     = "task_states"
    min_healthy_time = "5s"
  }

  group "allocator" {
    count = 3

    dynamic "constraint" {
      for_each = var.one_host ? [] : [true]
      content {
        operator = "distinct_hosts"
        value    = "true"
      }
    }

    network {
      port "rpc" {
        static = var.port
      }
      port "admin" {
        static = var.admin_port
      }
    }

    # nomad service info shardmanager-admin
    service {
      provider = "nomad"
      name     = "shardmanager-admin"
      port     = "admin"
    }

    service {
      provider = "nomad"
      name     = "shardmanager-allocator"
      port     = "rpc"
    }

    restart {
      attempts = 10
      interval = "1m"
      delay    = "1s"
      mode     = "delay"
    }

    task "allocator" {
      driver = "raw_exec"

      config {
        command = var.binary
        args = [
          "allocator",
          "--cluster", var.cluster,
          "--name", "allocator-${NOMAD_SHORT_ALLOC_ID}", # of two at once, such as across a partition, each has its own
          "--region", "${NOMAD_REGION}",
          "--zone", "${NOMAD_DC}",
          "--listen", "${NOMAD_ADDR_rpc}",
          "--admin-listen", "${NOMAD_ADDR_admin}",
          "--state-dir", "${NOMAD_TASK_DIR}/state",
          "--store", var.store,
          "--store-address", var.store_address,
          "--consul-addresses", var.consul_addresses,
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
