# What an agent of the cluster `prod` may do in Consul, with a default policy of deny. Put the name of your cluster in place of prod.
#
#   consul acl policy create -name shardmanager-agent -rules @agent.hcl
#   consul acl token create -description "shardmanager agent" -policy-name shardmanager-agent
#
# It may not register the node shardmanager-prod: start an allocator first, which does.

# The keys of servers. With a policy for each agent, write "shardmanager/prod/servers/NAME-OF-THE-AGENT." instead: a server's key is the
# agent's name, a dot, and the app's.
key_prefix "shardmanager/prod/servers/" {
  policy = "write"
}

# Who leads: agents follow the lock.
key_prefix "shardmanager/prod/g/default/leader" {
  policy = "list"
}

# The sessions that hold these keys.
session "shardmanager-prod" {
  policy = "write"
}

# Its place in the catalog, which people, DNS and Consul's UI see. Without it everything works (consul_register: false).
service "shardmanager-agent" {
  policy = "write"
}

# With gossip: the others in the catalog, to find members to begin with (gossip_join does without).
service "shardmanager-allocator" {
  policy = "read"
}
node_prefix "" {
  policy = "read"
}
