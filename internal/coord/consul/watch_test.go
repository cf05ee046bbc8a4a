package consul_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/consul"
	"github.com/shardmanager/shardmanager/internal/coord/coordtest"
	"github.com/shardmanager/shardmanager/internal/dev/consulserver/consultest"
)

// noticed is how soon a watch is made good whose answer was lost: before Consul would end its wait by itself.
const noticed = 10 * time.Second

// The answer that a watch waits for is lost, and it waits on. The next request that fails makes it ask again.
func TestWatchAsksAgainAfterAFailure(t *testing.T) {
	t.Parallel()
	cluster := consultest.Start(t, 1, nil)
	direct := dial(t, consul.Config{Addresses: cluster.Addresses()})
	silent := coordtest.NewNetwork(t, cluster.Addresses()[0], swallow)
	watching := dial(t, consul.Config{Addresses: []string{silent.Address()}})
	shows := follow(t, watching, "n")
	c := &counter{store: direct, key: "n"}
	c.step(t)
	shows(1)

	silent.LoseAnswers(true)
	c.step(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, _, err := watching.Get(ctx, "n"); !errors.Is(err, coord.ErrUnavailable) {
		t.Fatalf("a read through a silent network: %v", err)
	}
	silent.LoseAnswers(false)
	began := time.Now()
	shows(2)
	if took := time.Since(began); took > noticed {
		t.Errorf("the watch was made good after %v, expected %v at most", took, noticed)
	}
}

// swallow relays answers, or reads them and says nothing while they are lost: the connection stays.
func swallow(client io.Writer, store io.Reader, losing func() bool) {
	buffer := make([]byte, 32<<10)
	for {
		size, err := store.Read(buffer)
		if err != nil {
			return
		}
		if losing() {
			continue
		}
		if _, err := client.Write(buffer[:size]); err != nil {
			return
		}
	}
}
