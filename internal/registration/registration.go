package registration

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/internal/clock"
	"github.com/shardmanager/shardmanager/internal/coord/consul"
)

// Times.
const (
	firstLook    = 500 * time.Millisecond // a process that just began knows little of itself
	longestLook  = 5 * time.Second        // between two looks at it
	lookTimeout  = time.Second
	metaEvery    = time.Minute      // other metadata is told at most so often
	tagsEvery    = 10 * time.Second // and other tags
	callTimeout  = 5 * time.Second
	firstRetry   = time.Second
	longestRetry = time.Minute
	settled      = 2 // looks at a process that is worse than before, until it is told so
)

// Catalog is what is needed of Consul.
type Catalog interface {
	TTL() time.Duration
	Register(ctx context.Context, s consul.Service, h consul.Health) error
	Refresh(ctx context.Context, id string, h consul.Health) (registered bool, err error)
	Deregister(ctx context.Context, id string) error
}

// Presence is how a process appears.
type Presence struct {
	Service consul.Service
	Health  consul.Health
}

// Look asks a process how it is; false: it cannot say yet.
type Look func(context.Context) (Presence, bool)

// Registrar keeps one process in the catalog. Make it with New; Run it, then Leave or Rest.
type Registrar struct {
	catalog Catalog
	look    Look
	log     zerolog.Logger

	told    Presence  // what Consul was told last
	any     bool      // it was told anything
	here    bool      // as far as is known, Consul has it
	wrote   time.Time // when the service was registered last
	refresh time.Time // when its check is due
	worse   int       // looks that showed it worse than told
	retry   time.Time // nothing is tried before
	pauses  *backoff.ExponentialBackOff
	trouble string // the last failure that was logged; empty: none since
}

// New makes a registrar; nothing is called before Run.
func New(catalog Catalog, look Look, log zerolog.Logger) *Registrar {
	return &Registrar{catalog: catalog, look: look, log: log, pauses: backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(firstRetry), backoff.WithMaxInterval(longestRetry), backoff.WithMaxElapsedTime(0))}
}

// Run keeps the process registered until ctx ends.
func (r *Registrar) Run(ctx context.Context) {
	every := min(longestLook, r.catalog.TTL()/6)
	if !clock.Pause(ctx, min(firstLook, every)) {
		return
	}
	for {
		if now, ok := r.seen(ctx); ok {
			r.failed(ctx, r.step(ctx, now))
		}
		if !clock.Pause(ctx, every) {
			return
		}
	}
}

func (r *Registrar) seen(ctx context.Context) (Presence, bool) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	return r.look(ctx)
}

// step tells Consul what it has to be told now.
func (r *Registrar) step(ctx context.Context, now Presence) error {
	if time.Now().Before(r.retry) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	now.Health = r.settle(now.Health)
	if r.here && (now.Health != r.told.Health || !time.Now().Before(r.refresh)) {
		if err := r.say(ctx, now); err != nil {
			return err
		}
	}
	if r.here && !r.changed(now.Service) {
		return nil
	}
	if err := r.catalog.Register(ctx, now.Service, now.Health); err != nil {
		return err
	}
	if !r.here {
		r.log.Info().Str("service", now.Service.ID).Msg("registered in Consul")
	}
	r.here, r.any, r.wrote, r.told.Service = true, true, time.Now(), now.Service
	return r.say(ctx, now) // a check that was there before kept its status
}

// say refreshes the check.
func (r *Registrar) say(ctx context.Context, now Presence) (err error) {
	if r.here, err = r.catalog.Refresh(ctx, now.Service.ID, now.Health); err != nil {
		r.here = true // it may be there
		return err
	}
	ttl := r.catalog.TTL()
	r.told.Health, r.refresh = now.Health, time.Now().Add(ttl*5/12+rand.N(ttl/12))
	return nil
}

// settle holds back that the process is worse until that has lasted: an election makes every lease look bad for a moment.
func (r *Registrar) settle(now consul.Health) consul.Health {
	if !now.Warning || r.told.Health.Warning {
		r.worse = 0
		return now
	}
	if r.worse++; r.worse < settled {
		return r.told.Health
	}
	return now
}

// changed reports whether the service is another one than was registered, and may be registered again by now.
func (r *Registrar) changed(now consul.Service) bool {
	since := time.Since(r.wrote)
	switch {
	case now.Address != r.told.Service.Address:
		return true
	case !slices.Equal(now.Tags, r.told.Service.Tags):
		return since >= tagsEvery
	}
	return !maps.Equal(now.Meta, r.told.Service.Meta) && since >= metaEvery
}

// failed logs trouble once, and puts off the next try.
func (r *Registrar) failed(ctx context.Context, err error) {
	switch {
	case err == nil:
		if time.Now().Before(r.retry) {
			return // nothing was tried
		}
		r.trouble = ""
		r.pauses.Reset()
	case ctx.Err() == nil:
		r.retry = time.Now().Add(r.pauses.NextBackOff())
		if err.Error() != r.trouble {
			r.trouble = err.Error()
			r.log.Warn().Err(err).Msg("not registered in Consul: nothing depends on it, and it is tried again")
		}
	}
}

// Leave takes the process out of the catalog, after Run.
func (r *Registrar) Leave() {
	if !r.any {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if err := r.catalog.Deregister(ctx, r.told.Service.ID); err != nil {
		r.log.Warn().Err(err).Msg("not deregistered from Consul: its check turns critical, then Consul forgets it")
	}
}

// Rest refreshes the check once more, after Run: the process comes back within the TTL, under the same id.
func (r *Registrar) Rest() {
	if !r.here {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	if _, err := r.catalog.Refresh(ctx, r.told.Service.ID, r.told.Health); err != nil {
		r.log.Warn().Err(err).Msg("not refreshed in Consul before the restart")
	}
}
