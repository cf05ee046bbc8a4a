// Package progress is the word for how far a shard's state has come: what an application tells its agent, the agent the leader, and the leader
// operators. It is news only: nothing is decided by it.
package progress

import "github.com/shardmanager/shardmanager/internal/shard"

// Transfer is a stream of state on its way to a server that prepares to hold the shard.
type Transfer struct {
	Shard    shard.ID
	Order    shard.Order // under which the shard is prepared
	Received int64       // bytes
	Total    int64       // bytes in all as the source announced them; 0: unknown
}

// Find is the transfer of a shard under an order; zero if there is none.
func Find(list []Transfer, id shard.ID, order shard.Order) Transfer {
	for _, t := range list {
		if t.Shard == id && t.Order == order {
			return t
		}
	}
	return Transfer{}
}
