package storage

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/shardmanager/shardmanager/internal/shard"
)

const (
	serversDir = "servers/"
	appsDir    = "apps/"
	assignDir  = "assign/"
	fencesDir  = "fences/"
	restsDir   = "rests/"
	drainsDir  = "drains/"

	probationDir   = "probation/"
	quarantineDir  = "quarantine/"
	maintenanceDir = "maintenance/"
	specName       = "spec"
)

// Keys names the keys of one cluster and group (docs/architecture.md §3).
type Keys struct {
	cluster string
	root    string // of the cluster, with a final slash
	group   string // of the group, with a final slash
}

// NewKeys names the keys of a group of a cluster.
func NewKeys(cluster, group string) Keys {
	root := "shardmanager/" + cluster + "/"
	return Keys{cluster: cluster, root: root, group: root + "g/" + group + "/"}
}

// Root is the prefix of the whole cluster.
func (k Keys) Root() string { return k.root }

// Servers is the prefix of all servers' keys.
func (k Keys) Servers() string { return k.root + serversDir }

// Server is the key of one server.
func (k Keys) Server(id shard.ServerID) string { return k.Servers() + string(id) }

// Leader is the key of the lock.
func (k Keys) Leader() string { return k.group + "leader" }

// Sequence is the key that every transaction of a leader writes.
func (k Keys) Sequence() string { return k.group + "sequence" }

// Generation is the key of the generation of all that is stored (PROTOCOL R14).
func (k Keys) Generation() string { return k.group + "generation" }

// Spec is the key of an app's spec.
func (k Keys) Spec(app shard.App) string { return k.group + appsDir + string(app) + "/" + specName }

// Chunk is the key of one chunk of an app's assignment.
func (k Keys) Chunk(app shard.App, n int) string {
	return fmt.Sprintf("%s%s%s/%s%04d", k.group, appsDir, app, assignDir, n)
}

// Fence is the key of a server's fence.
func (k Keys) Fence(id shard.ServerID) string { return k.group + fencesDir + string(id) }

// Rest is the key of a server's rest.
func (k Keys) Rest(id shard.ServerID) string { return k.group + restsDir + string(id) }

// Drain is the key of a server's drain.
func (k Keys) Drain(id shard.ServerID) string { return k.group + drainsDir + string(id) }

// Probation is the key of a server's probation.
func (k Keys) Probation(id shard.ServerID) string { return k.group + probationDir + string(id) }

// Quarantine is the key of a shard's quarantine; Quarantines is the prefix of all of an app.
func (k Keys) Quarantine(app shard.App, id shard.ID) string {
	return k.Quarantines(app) + url.PathEscape(string(id))
}

// Quarantines is the prefix of all quarantines of an app.
func (k Keys) Quarantines(app shard.App) string { return k.group + quarantineDir + string(app) + "/" }

// Event is the key of a planned event.
func (k Keys) Event(id string) string { return k.group + maintenanceDir + url.PathEscape(id) }

// appKey splits the key of an app, after the group's prefix: the app, and its chunk or -1 for the spec; false if it is neither.
func appKey(rest string) (app shard.App, chunk int, ok bool) {
	name, what, found := strings.Cut(strings.TrimPrefix(rest, appsDir), "/")
	if !found || name == "" {
		return "", 0, false
	}
	if what == specName {
		return shard.App(name), -1, true
	}
	digits, isChunk := strings.CutPrefix(what, assignDir)
	n, err := strconv.Atoi(digits)
	if !isChunk || err != nil || n < 0 || fmt.Sprintf("%04d", n) != digits {
		return "", 0, false
	}
	return shard.App(name), n, true
}
