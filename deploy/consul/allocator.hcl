# What an allocator of the cluster `prod` may do in Consul, with a default policy of deny. Put the name of your cluster in place of prod.
#
#   consul acl policy create -name shardmanager-allocator -rules @allocator.hcl
#   consul acl token create -description "shardmanager allocator" -policy-name shardmanager-allocator

# Everything that the cluster knows: the lock, apps, assignments, and the keys of servers, which are deleted when they are fenced.
key_prefix "shardmanager/prod/" {
  policy = "write"
}

# The node that all sessions are attached to, which an allocator puts into the catalog if it is missing. No Consul agent stands for it.
node "shardmanager-prod" {
  policy = "write"
}

# Its own session, and those of servers that it fenced.
session "shardmanager-prod" {
  policy = "write"
}

# Its place in the catalog, which people, DNS and Consul's UI see. Without it everything works (consul_register: false).
service "shardmanager-allocator" {
  policy = "write"
}

# With gossip: the others in the catalog, to find members to begin with (gossip_join does without).
service "shardmanager-agent" {
  policy = "read"
}
node_prefix "" {
  policy = "read"
}
