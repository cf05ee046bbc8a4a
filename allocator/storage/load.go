package storage

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/allocator/appspec"
	"github.com/shardmanager/shardmanager/allocator/eventspec"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/allocator/probation"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Contents is what a group holds, read at one moment.
type Contents struct {
	Apps       []ledger.AppState
	Registered []ledger.Registration
	Fences     []ledger.Fence
	Rests      []ledger.Rest
	Drains     []shard.ServerID

	Probations  map[shard.ServerID]probation.Probation
	Quarantines []probation.Quarantine
	Events      []event.Event

	Indexes  *Indexes
	Sequence coord.Entry // zero: never written
	Leader   coord.Entry // zero: absent
	// Leftovers are chunks whose app is gone: its deletion was cut short. They are deleted before anything else is written.
	Leftovers []string
	// Unreadable servers' keys, and why. They are left out: to the ledger such a server is one whose key it cannot find, which it never takes
	// for an end (PROTOCOL R31).
	Unreadable []error
}

// Load reads the entries of the cluster. Any value of the group that is corrupt fails it, naming the key: without it, the rest is not the
// whole truth.
func (k Keys) Load(entries []coord.Entry) (*Contents, error) {
	c := &Contents{Indexes: newIndexes(), Probations: map[shard.ServerID]probation.Probation{}}
	apps := map[shard.App]*ledger.AppState{}
	chunks := map[shard.App][]string{}
	for _, e := range entries { // in key order: an app's chunks ascend, and precede its spec
		if rest, ok := strings.CutPrefix(e.Key, k.Servers()); ok {
			k.loadServer(c, shard.ServerID(rest), e)
			continue
		}
		rest, ok := strings.CutPrefix(e.Key, k.group)
		if !ok {
			continue // another group's
		}
		var err error
		if strings.HasPrefix(rest, appsDir) {
			err = loadApp(apps, chunks, rest, e)
		} else {
			err = k.loadOther(c, rest, e)
		}
		if err != nil {
			return nil, fmt.Errorf("load: key %s: %w: restore it from a copy, or delete the key if what it says may be forgotten", e.Key, err)
		}
		c.Indexes.at[e.Key] = e.Modify
	}
	for _, name := range shard.SortedKeys(apps) {
		app := apps[name]
		if app.Spec.Name == "" {
			c.Leftovers = append(c.Leftovers, chunks[name]...)
			continue
		}
		if space := app.Spec.Space; !space.Named && len(app.Rows) > int(space.Hash.Shards) {
			return nil, fmt.Errorf("load: key %s: %w: %d rows for %d shards", k.Spec(name), wire.ErrCorrupt, len(app.Rows), space.Hash.Shards)
		}
		c.Apps = append(c.Apps, *app)
	}
	return c, nil
}

func (k Keys) loadServer(c *Contents, id shard.ServerID, e coord.Entry) {
	registration, err := k.Registration(id, e)
	if err != nil {
		c.Unreadable = append(c.Unreadable, err)
		return
	}
	c.Registered = append(c.Registered, registration)
}

// Registration reads the entry of a server's key.
func (k Keys) Registration(id shard.ServerID, e coord.Entry) (ledger.Registration, error) {
	record := new(pb.ServerRecord)
	if err := wire.Decode(e.Value, record); err != nil {
		return ledger.Registration{}, fmt.Errorf("key %s: %w", e.Key, err)
	}
	server, err := wire.ServerFromProto(record.Server)
	switch {
	case err != nil:
		return ledger.Registration{}, fmt.Errorf("key %s: %w: %w", e.Key, wire.ErrCorrupt, err)
	case server.ID != id:
		return ledger.Registration{}, fmt.Errorf("key %s: %w: it says server %s", e.Key, wire.ErrCorrupt, server.ID)
	case server.Incarnation == 0:
		return ledger.Registration{}, fmt.Errorf("key %s: %w: no incarnation", e.Key, wire.ErrCorrupt)
	case record.Cluster != k.cluster:
		return ledger.Registration{}, fmt.Errorf("key %s: %w: it says cluster %q", e.Key, wire.ErrCorrupt, record.Cluster)
	}
	r := ledger.Registration{Server: server, Session: string(e.Session), Create: uint64(e.Create)}
	for _, ended := range record.Ended {
		r.Ended = append(r.Ended, shard.Incarnation(ended))
	}
	return r, nil
}

// Registrations reads the entries of all servers' keys and leaves out what cannot be read.
func (k Keys) Registrations(entries []coord.Entry) []ledger.Registration {
	out := make([]ledger.Registration, 0, len(entries))
	for _, e := range entries {
		if r, err := k.Registration(shard.ServerID(strings.TrimPrefix(e.Key, k.Servers())), e); err == nil {
			out = append(out, r)
		}
	}
	return out
}

func loadApp(apps map[shard.App]*ledger.AppState, chunks map[shard.App][]string, rest string, e coord.Entry) error {
	name, n, ok := appKey(rest)
	if !ok {
		return errors.New("not a key of an app: expected apps/<app>/spec or apps/<app>/assign/<number>")
	}
	app := apps[name]
	if app == nil {
		app = &ledger.AppState{}
		apps[name] = app
	}
	if n >= 0 {
		chunks[name] = append(chunks[name], e.Key)
		return loadChunk(app, n, e)
	}
	record := new(pb.AppRecord)
	if err := wire.Decode(e.Value, record); err != nil {
		return err
	}
	spec, err := appspec.FromProto(record.Spec)
	if err != nil {
		return fmt.Errorf("%w: %w", wire.ErrCorrupt, err)
	}
	if spec.Name != name {
		return fmt.Errorf("%w: it says app %q", wire.ErrCorrupt, spec.Name)
	}
	app.Spec = spec
	return nil
}

func loadChunk(app *ledger.AppState, n int, e coord.Entry) error {
	record := new(pb.AssignmentChunk)
	if err := wire.Decode(e.Value, record); err != nil {
		return err
	}
	rows, err := rowsFromProto(record)
	if err != nil {
		return fmt.Errorf("%w: %w", wire.ErrCorrupt, err)
	}
	if n >= shard.MaxShards/ledger.ChunkShards {
		return fmt.Errorf("%w: chunk %d of at most %d", wire.ErrCorrupt, n, shard.MaxShards/ledger.ChunkShards)
	}
	if missing := n*ledger.ChunkShards - len(app.Rows); missing > 0 { // chunks that were never written
		app.Rows = append(app.Rows, make([]ledger.Row, missing)...)
	}
	app.Rows = append(app.Rows[:n*ledger.ChunkShards], rows...)
	return nil
}

// loadOther reads a key of the group that is not an app's. Keys that this version does not know stay as they are.
func (k Keys) loadOther(c *Contents, rest string, e coord.Entry) error {
	switch {
	case e.Key == k.Leader():
		c.Leader = e
		return wire.Decode(e.Value, new(pb.LeaderRecord))
	case e.Key == k.Generation(): // whoever became leader has read it
		return nil
	case e.Key == k.Sequence():
		c.Sequence = e
		return wire.Decode(e.Value, new(pb.SequenceRecord))
	}
	dir, name, _ := strings.Cut(rest, "/")
	id := shard.ServerID(name)
	switch dir + "/" {
	case fencesDir:
		record := new(pb.FenceRecord)
		if err := decodeOwned(e.Value, record); err != nil {
			return err
		}
		c.Fences = append(c.Fences, ledger.Fence{Owner: ownerOf(id, record.Incarnation), Reason: record.Reason})
	case restsDir:
		record := new(pb.RestRecord)
		if err := decodeOwned(e.Value, record); err != nil {
			return err
		}
		if record.LengthNs < 0 {
			return fmt.Errorf("%w: length %d ns", wire.ErrCorrupt, record.LengthNs)
		}
		c.Rests = append(c.Rests, ledger.Rest{Owner: ownerOf(id, record.Incarnation), Length: time.Duration(record.LengthNs)})
	case drainsDir:
		record := new(pb.DrainRecord)
		if err := wire.Decode(e.Value, record); err != nil {
			return err
		}
		if record.Server != name {
			return fmt.Errorf("%w: it says server %q", wire.ErrCorrupt, record.Server)
		}
		c.Drains = append(c.Drains, id)
	case probationDir:
		return loadProbation(c, id, e)
	case quarantineDir:
		return k.loadQuarantine(c, e)
	case maintenanceDir:
		return k.loadEvent(c, e)
	}
	return nil
}

func loadProbation(c *Contents, id shard.ServerID, e coord.Entry) error {
	record := new(pb.ProbationRecord)
	if err := wire.Decode(e.Value, record); err != nil {
		return err
	}
	if record.Server != string(id) || record.WindowNs < 0 || record.LengthNs < 0 || record.LeftNs < 0 {
		return fmt.Errorf("%w: it says %v", wire.ErrCorrupt, record)
	}
	c.Probations[id] = probation.Probation{
		Fences: int(record.Fences), Window: time.Duration(record.WindowNs), Length: time.Duration(record.LengthNs),
		Left: time.Duration(record.LeftNs), Reason: record.Reason,
	}
	return nil
}

func (k Keys) loadQuarantine(c *Contents, e coord.Entry) error {
	record := new(pb.QuarantineRecord)
	if err := wire.Decode(e.Value, record); err != nil {
		return err
	}
	q := probation.Quarantine{App: shard.App(record.App), Shard: shard.ID(record.Shard), Why: record.Reason}
	if k.Quarantine(q.App, q.Shard) != e.Key || q.Why == "" {
		return fmt.Errorf("%w: it says shard %q of app %q, because of %q", wire.ErrCorrupt, record.Shard, record.App, record.Reason)
	}
	c.Quarantines = append(c.Quarantines, q)
	return nil
}

func (k Keys) loadEvent(c *Contents, e coord.Entry) error {
	record := new(pb.MaintenanceRecord)
	if err := wire.Decode(e.Value, record); err != nil {
		return err
	}
	planned := eventspec.FromProto(record.GetEvent())
	if k.Event(planned.ID) != e.Key || len(planned.Pieces) == 0 {
		return fmt.Errorf("%w: it says event %q of %d pieces", wire.ErrCorrupt, planned.ID, len(planned.Pieces))
	}
	for i := range planned.Pieces {
		p := &planned.Pieces[i]
		if p.State < event.Waiting || p.State > event.Cancelled || len(p.Covers) == 0 || p.State.Active() && p.Left <= 0 {
			return fmt.Errorf("%w: piece %d is %s with %d servers and %s left", wire.ErrCorrupt, i, p.State, len(p.Covers), p.Left)
		}
	}
	c.Events = append(c.Events, planned)
	return nil
}

func ownerOf(id shard.ServerID, incarnation uint64) ledger.Owner {
	return ledger.Owner{Server: id, Incarnation: shard.Incarnation(incarnation)}
}

// decodeOwned decodes a record that means nothing without an incarnation.
func decodeOwned(value []byte, record interface {
	proto.Message
	GetIncarnation() uint64
}) error {
	if err := wire.Decode(value, record); err != nil {
		return err
	}
	if record.GetIncarnation() == 0 {
		return fmt.Errorf("%w: no incarnation", wire.ErrCorrupt)
	}
	return nil
}
