package sdk

import (
	"cmp"
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/shardmanager/shardmanager/internal/nearest"
	"github.com/shardmanager/shardmanager/internal/shard"
)

// WithNearestRead lets the requests made with the context be answered by any replica: they must only read, and live with an answer that
// is behind (see StalenessOf). The Router sends each to the nearest replica by WithLocality and the latency between regions, in turn among
// equals, the primary counting as one; a replica that failed lately is passed over while there is another, and one that refuses, breaks or does not answer in time
// is followed by the next.
func WithNearestRead(ctx context.Context) context.Context {
	return context.WithValue(ctx, contextNearest, true)
}

func nearestFrom(ctx context.Context) bool {
	nearest, _ := ctx.Value(contextNearest).(bool)
	return nearest
}

// StalenessOf says how far the answer with these headers may be behind what was acknowledged when it was made: 0 from a primary. False:
// it is a secondary's, which does not say.
func StalenessOf(header http.Header) (time.Duration, bool) {
	if header.Get(HeaderRole) != RoleSecondary.String() {
		return 0, true
	}
	ms, err := strconv.ParseInt(header.Get(HeaderStaleness), 10, 64)
	return time.Duration(min(ms, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond, err == nil && ms >= 0
}

// nextNearest is next for requests that any replica may answer: each is asked once, nearest first, then where a refusal pointed; then
// all of them again after a pause.
func (c *routed) nextNearest(ctx context.Context) (Route, error) {
	for {
		v := c.router.view.Load()
		if v.m != nil && c.affords() {
			if route, ok := c.nearest(v.m); ok {
				return route, nil
			}
		}
		timer := time.NewTimer(c.nextPause())
		select {
		case <-ctx.Done():
			timer.Stop()
			return Route{}, c.giveUp(ctx, ctx.Err())
		case <-c.absent(v):
			timer.Stop()
			return Route{}, c.giveUp(ctx, ErrNoShard)
		case <-v.changed:
		case <-timer.C:
		}
		timer.Stop()
		c.tried, c.pointed = c.tried[:0], ""
	}
}

// nearest is the way to the best replica that was not asked yet in this round.
func (c *routed) nearest(m *shard.Map) (Route, bool) {
	at, ok := m.OfString(c.key)
	if !ok {
		return Route{}, false
	}
	route := Route{m: m, index: at}
	if s := c.router.chooser.Choose(time.Now(), m, route.index, c.tried); s != nil {
		route.address = s.DataAddress
	} else if c.pointed != "" && !slices.Contains(c.tried, c.pointed) {
		route.address, route.hinted = c.pointed, true
	}
	if route.address == "" {
		return Route{}, false
	}
	c.tried = append(c.tried, route.address)
	return route, true
}

// learn keeps where a refusal pointed, and tells later reads what came of an attempt at a replica.
func (c *routed) learn(route Route, res attempted) {
	c.pointed = cmp.Or(res.hint, c.pointed)
	switch {
	case errors.Is(res.err, context.Canceled): // the caller's doing
	case res.outcome == 0:
		c.router.chooser.Answered(route.address, route.index)
	case res.refused:
		c.router.chooser.Failed(time.Now(), route.address, route.index)
	default:
		c.router.chooser.Failed(time.Now(), route.address, nearest.AnyShard)
	}
}
