package kvreplica

import (
	"context"
	"fmt"
	"slices"
	"time"

	kvv1 "github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1"
	"github.com/shardmanager/shardmanager/examples/kv/proto/kv/v1/kvv1connect"
)

// maxBatch is how many writes go into one request, over all shards; the rest follows in the next.
const maxBatch = 4096

// peer is a server with secondaries of shards that are primary here. One goroutine sends it everything, one request at a time, so that
// answers come in order and what queues meanwhile goes along in the next.
type peer struct {
	node    *Node
	key     memberKey
	service kvv1connect.ReplicaServiceClient
	ctx     context.Context
	stop    context.CancelFunc
	wake    chan struct{} // capacity 1

	// Under Node.mu.
	links int
	dirty map[*link]target // links with something to send
	heard time.Duration    // the peer's clock, as it last said
	beat  *beat            // next confirmation to send; nil: none
}

// target is a link with the replica and the leader that it belongs to.
type target struct {
	replica *replica
	leader  *leader
}

// beat is a confirmation of shards to a peer.
type beat struct {
	heard     time.Duration
	confirmed []*kvv1.Confirmation
}

// link begins to send to a member. The caller holds the replica's lock.
func (n *Node) link(r *replica, lead *leader, k *link) {
	n.mu.Lock()
	key := memberKey{k.Address, k.Incarnation}
	p := n.peers[peerName(key)]
	if p == nil {
		ctx, stop := context.WithCancel(n.ctx)
		p = &peer{
			node: n, key: key, service: newReplicaClient(n.client, key.address), ctx: ctx, stop: stop, wake: make(chan struct{}, 1),
			dirty: map[*link]target{},
		}
		n.peers[peerName(key)] = p
		n.work.Go(p.run)
	}
	p.links++
	n.mu.Unlock()
	n.work.Go(func() { p.install(r, lead, k) })
}

func peerName(k memberKey) string { return fmt.Sprintf("%s/%x", k.address, k.incarnation) }

// unlink ends links that are a leader's no more; a peer ends with its last link.
func (n *Node) unlink(list []*link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range list {
		name := peerName(memberKey{k.Address, k.Incarnation})
		p := n.peers[name]
		delete(p.dirty, k)
		if p.links--; p.links == 0 {
			p.stop()
			delete(n.peers, name)
		}
	}
}

// queued has peers send what was queued for links.
func (n *Node) queued(r *replica, lead *leader, links []*link) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, k := range links {
		if p := n.peers[peerName(memberKey{k.Address, k.Incarnation})]; p != nil {
			p.dirty[k] = target{r, lead}
			p.signal()
		}
	}
}

func (p *peer) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// confirm gives every peer a confirmation of the shards that it has secondaries of. What a peer's clock was is looked at before its shards
// are: so the confirmation holds of that instant.
func (n *Node) confirm(ctx context.Context) {
	n.mu.Lock()
	beats := map[string]*beat{}
	for name, p := range n.peers {
		beats[name] = &beat{heard: p.heard}
	}
	replicas := make([]*replica, 0, len(n.shards))
	for _, r := range n.shards {
		replicas = append(replicas, r)
	}
	n.mu.Unlock()
	for _, r := range replicas {
		n.confirmShard(ctx, r, beats)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, b := range beats {
		if p := n.peers[name]; p != nil {
			p.beat = b
			p.signal()
		}
	}
}

func (n *Node) confirmShard(ctx context.Context, r *replica, beats map[string]*beat) {
	r.mu.Lock()
	wanted := r.role == primary && r.leader.ready && len(r.leader.links) > 0
	var term uint64
	if wanted {
		term = r.leader.at.term
	}
	r.mu.Unlock()
	if !wanted || !n.cfg.Confirm(ctx, r.shard, term) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	lead, err := r.leads(term)
	if err != nil {
		return
	}
	c := &kvv1.Confirmation{Shard: r.shard, Term: term, Sequence: lead.at.sequence}
	for key := range lead.links {
		if b := beats[peerName(key)]; b != nil {
			b.confirmed = append(b.confirmed, c)
		}
	}
}

// run sends until the peer's last link ends.
func (p *peer) run() {
	delay := firstRetry
	failing := false
	for {
		select {
		case <-p.ctx.Done():
			return
		case <-p.wake:
		}
		err := p.send()
		if err == nil {
			failing, delay = false, firstRetry
			continue
		}
		if !failing && p.ctx.Err() == nil {
			p.node.cfg.Log.Warn("secondary does not answer, its shards' writes wait", "address", p.key.address, "error", err)
		}
		failing = true
		select {
		case <-p.ctx.Done():
		case <-time.After(delay):
			p.signal()
		}
		delay = min(2*delay, longestRetry)
	}
}

// batch is one request with what it is made of.
type batch struct {
	request kvv1.ReplicateRequest
	links   []*link // of each of the request's shards, and of them
	targets []target
	asks    []int
}

// collect makes a request of all that is to be sent; nil: nothing.
func (p *peer) collect() *batch {
	n := p.node
	n.mu.Lock()
	dirty, heartbeat := p.dirty, p.beat
	p.dirty, p.beat = map[*link]target{}, nil
	n.mu.Unlock()
	b := &batch{}
	b.request.To = p.key.incarnation
	if heartbeat != nil {
		b.request.HeardNs, b.request.Confirmed = int64(heartbeat.heard), heartbeat.confirmed
	}
	left := maxBatch
	for k, t := range dirty {
		if left == 0 {
			n.queued(t.replica, t.leader, []*link{k})
			continue
		}
		left -= b.add(k, t, left)
	}
	if len(b.links) == 0 && heartbeat == nil {
		return nil
	}
	return b
}

// add takes up to limit writes of a link, and returns how many it took.
func (b *batch) add(k *link, t target, limit int) int {
	t.replica.mu.Lock()
	defer t.replica.mu.Unlock()
	if !t.leader.has(k) || !k.streaming {
		return 0
	}
	writes := k.queue[:min(len(k.queue), limit)]
	b.links, b.targets, b.asks = append(b.links, k), append(b.targets, t), append(b.asks, k.asks)
	b.request.Shards = append(b.request.Shards, &kvv1.ShardWrites{
		Shard: t.replica.shard, Term: t.leader.at.term, Writes: writesToProto(writes),
	})
	return len(writes)
}

func (p *peer) send() error {
	b := p.collect()
	if b == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(p.ctx, sendTimeout)
	defer cancel()
	answer, err := p.service.Replicate(ctx, &b.request)
	if err == nil && len(answer.GetPositions()) != len(b.links) {
		err = fmt.Errorf("%d positions for %d shards", len(answer.GetPositions()), len(b.links))
	}
	if err != nil {
		for i, k := range b.links {
			p.node.queued(b.targets[i].replica, b.targets[i].leader, []*link{k})
		}
		return err
	}
	p.node.mu.Lock()
	p.heard = time.Duration(answer.GetClockNs())
	p.node.mu.Unlock()
	for i, position := range answer.GetPositions() {
		p.answered(b.targets[i], b.links[i], b.asks[i], takenOf(position))
	}
	return nil
}

// answered takes what a secondary said about one shard.
func (p *peer) answered(t target, k *link, ask int, said taken) {
	r := t.replica
	r.mu.Lock()
	current := t.leader.has(k) && k.streaming
	if !current {
		r.mu.Unlock()
		return
	}
	again, more := false, false
	switch said.state {
	case following:
		again = !t.leader.acked(k, ask, said.at.sequence)
		more = len(k.queue) > 0 || k.answered != k.asks
	case behind:
		again = true
	case refused:
		r.promise(said.at.term)
	}
	if again {
		k.streaming = false
	}
	r.wake()
	r.mu.Unlock()
	switch {
	case again:
		p.node.work.Go(func() { p.install(r, t.leader, k) })
	case more:
		p.node.queued(r, t.leader, []*link{k})
	}
}

// install brings a member up to date by snapshots, until one arrives whole or the link ends.
func (p *peer) install(r *replica, lead *leader, k *link) {
	delay := firstRetry
	for {
		r.mu.Lock()
		if !lead.has(k) {
			r.mu.Unlock()
			return
		}
		data, at, install := lead.snapshot(k)
		r.mu.Unlock()
		said, err := p.sendSnapshot(r.shard, at, data)
		if err == nil && p.installed(r, lead, k, install, said) {
			return
		}
		if err != nil && p.ctx.Err() == nil {
			p.node.cfg.Log.Debug("snapshot not installed", "shard", r.shard, "address", p.key.address, "error", err)
		}
		select {
		case <-p.ctx.Done():
			return
		case <-time.After(delay):
		}
		delay = min(2*delay, longestRetry)
	}
}

// installed takes the answer to a snapshot; false: another one is needed.
func (p *peer) installed(r *replica, lead *leader, k *link, install int, said taken) bool {
	r.mu.Lock()
	done := !lead.has(k)
	if !done {
		switch said.state {
		case following:
			done = lead.installed(k, install, said.at.sequence)
		case refused:
			r.promise(said.at.term)
			done = true
		case behind:
		}
	}
	r.wake()
	r.mu.Unlock()
	if done {
		p.node.queued(r, lead, []*link{k})
	}
	return done
}

// partKeys is how many keys go into one part of a snapshot.
const partKeys = 512

func (p *peer) sendSnapshot(shard string, at position, data table) (taken, error) {
	ctx, cancel := context.WithTimeout(p.ctx, installTimeout)
	defer cancel()
	stream, err := p.service.Install(ctx)
	if err != nil {
		return taken{}, err
	}
	part := &kvv1.InstallRequest{To: p.key.incarnation, Shard: shard, Term: at.term, Sequence: at.sequence}
	for keys := range slices.Chunk(keysToProto(data), partKeys) {
		part.Keys = keys
		if err := stream.Send(part); err != nil {
			break // the answer says why
		}
		part = &kvv1.InstallRequest{}
	}
	part.Keys, part.Last = nil, true
	_ = stream.Send(part) // likewise
	answer, err := stream.CloseAndReceive()
	return takenOf(answer.GetPosition()), err
}
