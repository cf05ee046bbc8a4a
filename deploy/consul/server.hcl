# /etc/consul.d/consul.hcl: a Consul server, on three hosts; bind_addr is the host's own.
server           = true
bootstrap_expect = 3
data_dir         = "/opt/consul"
bind_addr        = "10.0.0.1"
retry_join       = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]

# An election takes 3 s, which leases outlast. With Consul's default of 5 it takes 10 s and more.
performance {
  raft_multiplier = 1
}

# What many agents ask over one address.
limits {
  http_max_conns_per_client = 1000
}

ui_config {
  enabled = true
}
