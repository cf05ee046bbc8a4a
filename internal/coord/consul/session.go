package consul

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/shardmanager/shardmanager/internal/coord"
)

const (
	// lockDelay is the shortest that Consul takes; whoever needs a delay waits by itself (PROTOCOL R1).
	lockDelay = time.Millisecond
	// destroyTries bounds how often a session is destroyed that is still there afterwards.
	destroyTries = 3
	// nodeAddress is the address of the catalog node, where nothing listens.
	nodeAddress = "127.0.0.1"
)

// Node is the name of the catalog node that the sessions of a cluster are attached to (PROTOCOL R13). It is external: no Consul agent stands
// for it, so none that leaves or is forgotten takes the sessions along.
func Node(cluster string) string { return "shardmanager-" + cluster }

// CreateSession begins a session; the cluster's node is registered if it is not there yet. After an unknown outcome there may be a session that
// nobody renews; it ends by itself.
func (s *Store) CreateSession(ctx context.Context, spec coord.SessionSpec) (coord.SessionID, error) {
	id, err := s.createSession(ctx, spec)
	if err != nil && strings.Contains(err.Error(), saysMissingNode) {
		if err := s.registerNode(ctx); err != nil {
			return "", fmt.Errorf("create session: %w", err)
		}
		id, err = s.createSession(ctx, spec)
	}
	if err != nil {
		return "", fmt.Errorf("create session: %w", err)
	}
	return id, nil
}

func (s *Store) createSession(ctx context.Context, spec coord.SessionSpec) (id coord.SessionID, err error) {
	behavior := api.SessionBehaviorRelease
	if spec.Behavior == coord.DeleteKeys {
		behavior = api.SessionBehaviorDelete
	}
	entry := &api.SessionEntry{Name: spec.Name, Node: s.node, TTL: spec.TTL.String(), Behavior: behavior, LockDelay: lockDelay}
	err = call(ctx, changes, func(ctx context.Context) error {
		created, _, err := s.api.Session().CreateNoChecks(entry, (&api.WriteOptions{}).WithContext(ctx))
		id = coord.SessionID(created)
		return err
	})
	return id, err
}

// registerNode puts the cluster's node into the catalog. Doing so twice is fine.
func (s *Store) registerNode(ctx context.Context) error {
	node := &api.CatalogRegistration{
		Node: s.node, Address: nodeAddress, Datacenter: s.dc,
		NodeMeta: map[string]string{"external-node": "true", "external-probe": "false", "external-source": "shardmanager"},
	}
	err := call(ctx, changes, func(ctx context.Context) error {
		_, err := s.api.Catalog().Register(node, (&api.WriteOptions{}).WithContext(ctx))
		return err
	})
	switch {
	case errors.Is(err, errDenied):
		return fmt.Errorf("node %s is not in Consul's catalog: start an allocator, whose token may register it: %w", s.node, err)
	case err != nil:
		return fmt.Errorf("register node %s: %w", s.node, err)
	}
	return nil
}

// RenewSession reports false if there is no such session. That Consul's leader does not know it is no proof, because a new leader may not have come to it
// yet: a consistent read makes sure. A session that is there after all was not renewed.
func (s *Store) RenewSession(ctx context.Context, id coord.SessionID) (found bool, err error) {
	err = call(ctx, changes, func(ctx context.Context) error {
		entry, _, err := s.api.Session().Renew(string(id), (&api.WriteOptions{}).WithContext(ctx))
		found = entry != nil
		return err
	})
	if err == nil && !found {
		var there bool
		if there, err = s.sessionThere(ctx, id); there {
			err = fmt.Errorf("%w: Consul's new leader does not know it yet", coord.ErrUnavailable)
		}
	}
	if err != nil {
		return false, fmt.Errorf("renew session %s: %w", id, err)
	}
	return found, nil
}

// DestroySession ends a session. Consul answers that it is gone when its leader does not know it, which a new leader may not do yet; a consistent
// read afterwards makes sure.
func (s *Store) DestroySession(ctx context.Context, id coord.SessionID) error {
	for range destroyTries {
		err := call(ctx, changes, func(ctx context.Context) error {
			_, err := s.api.Session().Destroy(string(id), (&api.WriteOptions{}).WithContext(ctx))
			return err
		})
		if err != nil {
			return fmt.Errorf("destroy session %s: %w", id, err)
		}
		there, err := s.sessionThere(ctx, id)
		if err != nil {
			return fmt.Errorf("destroy session %s: %w: %w", id, coord.ErrUnknown, err)
		}
		if !there {
			return nil
		}
	}
	return fmt.Errorf("destroy session %s: %w: it is still there", id, coord.ErrUnknown)
}

func (s *Store) sessionThere(ctx context.Context, id coord.SessionID) (there bool, err error) {
	err = call(ctx, reads, func(ctx context.Context) error {
		entry, meta, err := s.api.Session().Info(string(id), consistent(ctx))
		if err == nil {
			err = s.complete(meta)
		}
		there = entry != nil
		return err
	})
	return there, err
}
