package gossip

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/cenkalti/backoff/v4"
)

// Pauses between two rounds of joining.
const (
	firstRetry   = 200 * time.Millisecond
	longestRetry = 15 * time.Second
	// again is how often seeds that were joined are looked at: those that are no members any more are joined again, so that parts of a
	// cluster that lost each other find together.
	again = 30 * time.Second
	// askAgain is how often somebody is asked for seeds by a member that is not alone, more or less: a thousand members ask at once. It begins with
	// askSoon and doubles: of a cluster that starts, parts may have found themselves before others were named.
	askSoon  = 20 * time.Second
	askAgain = 5 * time.Minute
	// repeatAfter is how often the same trouble is told.
	repeatAfter = time.Minute
)

// seed is a member to join, and where it is known from.
type seed struct{ address, source string }

// Run joins seeds until ctx ends, which is the only way it returns. A seed that cannot be joined is told of and tried again: several
// common seeds, joined by everybody, make a cluster whole within seconds.
func (n *Node) Run(ctx context.Context) error {
	defer context.AfterFunc(ctx, n.hangUp)() // while it dials, nothing else looks at ctx
	delay := backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstRetry), backoff.WithMaxInterval(longestRetry), backoff.WithMaxElapsedTime(0))
	var told trouble
	for ctx.Err() == nil {
		err := n.round(ctx)
		wait := again
		if err != nil {
			n.askDue = time.Time{} // a seed that was not joined is tried again
		}
		if err != nil || (n.deps.Seeds != nil && len(n.alive()) <= 1) { // others may be about to be named
			wait = delay.NextBackOff()
		} else {
			delay.Reset()
		}
		if ctx.Err() == nil && told.news(err) {
			n.log.Warn().Err(err).Msg("gossip cannot join")
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// trouble says whether an error is worth telling: it is another one than before, or came long ago.
type trouble struct {
	text string
	at   time.Time
}

func (t *trouble) news(err error) bool {
	if err == nil {
		t.text = ""
		return false
	}
	now := time.Now()
	if err.Error() == t.text && now.Sub(t.at) < repeatAfter {
		return false
	}
	t.text, t.at = err.Error(), now
	return true
}

// round joins every seed that is no member yet. It fails with what went wrong at each.
func (n *Node) round(ctx context.Context) error {
	seeds, err := n.seeds(ctx)
	failed := []error{err}
	for _, s := range seeds {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := n.join(ctx, s); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// seeds lists whom to join: those configured, those that somebody names, and for a member that is alone those that it knew.
func (n *Node) seeds(ctx context.Context) ([]seed, error) {
	var list []seed
	for _, address := range n.cfg.Join {
		list = append(list, seed{address, "gossip_join"})
	}
	var failed error
	alone := len(n.alive()) <= 1
	if alone {
		n.askPause = 0
	}
	if n.deps.Seeds != nil && (alone || !time.Now().Before(n.askDue)) {
		named, err := n.deps.Seeds(ctx, n.own)
		if err != nil {
			failed = fmt.Errorf("gossip seeds: %w", err)
		} else {
			n.askPause = min(max(2*n.askPause, askSoon), askAgain)
			n.askDue = time.Now().Add(n.askPause - n.askPause/5 + rand.N(n.askPause*2/5))
		}
		for _, address := range spread(named, maxSeeds) {
			list = append(list, seed{address, "gossip seeds"})
		}
	}
	if alone {
		for _, address := range spread(n.peers.list(), maxSeeds) {
			list = append(list, seed{address, "gossip peers"})
		}
	}
	return list, failed
}

// alive lists the addresses of living members, this one's included.
func (n *Node) alive() []string {
	var list []string
	for _, m := range n.Members() {
		if m.Status == Alive {
			list = append(list, m.Address)
		}
	}
	return list
}

// join joins a seed, unless it is a member already, or this one. Of a member that it only knew before, nothing is told when it is gone.
func (n *Node) join(ctx context.Context, s seed) error {
	host, port, err := split(s.address)
	if err != nil {
		return fmt.Errorf("%s: %q: expected host:port", s.source, s.address)
	}
	ips, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return fmt.Errorf("%s: seed %s: %w", s.source, s.address, err)
	}
	known := n.alive()
	for _, ip := range ips {
		address := net.JoinHostPort(ip, strconv.Itoa(port))
		if slices.Contains(known, address) || address == n.own {
			return nil
		}
		if _, joinErr := n.serf.Join([]string{address}, true); joinErr != nil {
			err = explainJoin(address, s.source, joinErr)
			continue
		}
		n.log.Info().Str("seed", s.address).Int("members", len(n.alive())).Msg("gossip joined")
		return nil
	}
	return err
}
