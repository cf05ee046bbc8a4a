# The embedded store, where Consul is not used: one of it, on a host whose data stays. While it is away nothing new is decided, and after 12 s
# exclusive apps stop serving until it is back.
#
#   nomad job run -var host=host-1 store.nomad.hcl

variable "binary" {
  type        = string
  description = "Path of shardmanager on every host."
  default     = "/usr/local/bin/shardmanager"
}

variable "host" {
  type        = string
  description = "Name of the Nomad node that keeps the data."
}

variable "data_dir" {
  type        = string
  description = "Directory of the data, outside of Nomad's: it outlives allocations."
  default     = "/var/lib/shardmanager/store"
}

variable "port" {
  type        = number
  description = "Port of the store; what store_address of the other jobs says."
  default     = 7450
}

job "shardmanager-store" {
  group "store" {
    constraint {
      attribute = "${node.unique.name}"
      value     = var.host
    }

    network {
      port "store" {
        static = var.port
      }
      port "admin" {}
    }

    # Metrics, for Prometheus, and whether it takes writes.
    service {
      provider = "nomad"
      name     = "shardmanager-store-admin"
      port     = "admin"

      check {
        type     = "http"
        path     = "/readyz"
        interval = "5s"
        timeout  = "2s"
      }
    }

    restart {
      attempts = 10
      interval = "1m"
      delay    = "1s"
      mode     = "delay"
    }

    task "store" {
      driver = "raw_exec"

      config {
        command = var.binary
        args    = ["store", "--listen", "${NOMAD_ADDR_store}", "--admin-listen", "${NOMAD_ADDR_admin}", "--data-dir", var.data_dir]
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
