# The controller: it makes planned events of Nomad's drains and deployments, and holds Nomad until they are approved. Two of it, so that one is always
# there; they keep nothing, and it does no harm that both say the same. While none runs, what is held stays held.
#
#   nomad job run controller.nomad.hcl
#
# It speaks with the Nomad agent of its host (the task API), by the identity that Nomad gives it. Where Nomad has ACLs, that identity needs a policy:
#
#   nomad acl policy apply -namespace default -job shardmanager-controller shardmanager-controller controller.policy.hcl

variable "binary" {
  type        = string
  description = "Path of shardmanager on every host."
  default     = "/usr/local/bin/shardmanager"
}

variable "down_for" {
  type        = string
  description = "How long a server may be down: until another one serves in its place."
  default     = "10m"
}

variable "drain_patience" {
  type        = string
  description = "How long after its start the deadline of a drain is put off, while servers cannot be spared; 0s: never."
  default     = "2h"
}

variable "one_host" {
  type        = bool
  description = "True: both on one host, to try it out."
  default     = false
}

job "shardmanager-controller" {
  update {
    max_parallel     = 1
    health_check     = "checks"
    min_healthy_time = "5s"
  }

  group "controller" {
    count = 2

    dynamic "constraint" {
      for_each = var.one_host ? [] : [true]
      content {
        operator = "distinct_hosts"
        value    = "true"
      }
    }

    network {
      port "http" {}
      port "admin" {}
    }

    service {
      provider = "nomad"
      name     = "shardmanager-controller"
      port     = "http"

      check {
        type     = "http"
        path     = "/ready"
        interval = "5s"
        timeout  = "2s"
      }
    }

    # Metrics, for Prometheus.
    service {
      provider = "nomad"
      name     = "shardmanager-controller-admin"
      port     = "admin"

      check {
        type     = "http"
        path     = "/livez"
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

    task "controller" {
      driver = "raw_exec"

      config {
        command = var.binary
        args = [
          "nomad-controller",
          "--listen", "${NOMAD_ADDR_http}",
          "--admin-listen", "${NOMAD_ADDR_admin}",
          "--nomad-address", "unix://${NOMAD_SECRETS_DIR}/api.sock",
          "--nomad-token-file", "${NOMAD_SECRETS_DIR}/nomad_token",
          "--down-for", var.down_for,
          "--drain-patience", var.drain_patience,
        ]
      }

      identity {
        file = true
      }

      # The allocators, as allocators.nomad.hcl registers them.
      template {
        destination = "${NOMAD_TASK_DIR}/admin.env"
        env         = true
        data        = "SHARDMANAGER_ADMIN={{ range $i, $s := nomadService \"shardmanager-admin\" }}{{ if $i }},{{ end }}{{ $s.Address }}:{{ $s.Port }}{{ end }}\n"
      }

      kill_signal  = "SIGTERM"
      kill_timeout = "10s"

      resources {
        cpu    = 100
        memory = 64
      }
    }
  }
}
