package sim

import (
	"time"

	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/sim/promise"
	"github.com/shardmanager/shardmanager/internal/sim/virtual"
)

// host is a machine with an agent and an application.
type host struct {
	w     *World
	name  string
	id    shard.ServerID
	at    place
	where shard.Locality
	clock *virtual.Clock
	up    bool
	disk  disk
	file  *roster.Saved // the state file; nil: none that can be read

	agent      *agent
	app        *application
	pids       int64
	overloaded int // its processes wait for a processor, for so many reasons

	// What promise 7 needs: since when application, agent and the way to the store have been sound, and the lease that was there last.
	sound time.Duration
	had   *life
}

// onHost is how long what one process of the host sends to another takes to be taken up.
func (h *host) onHost() time.Duration {
	if h.overloaded > 0 {
		return onHost + h.w.chance.UpTo(longest)
	}
	return onHost
}

// disk is where the state file is.
type disk struct {
	full int // writes fail, for so many reasons
	slow time.Duration
}

const writeTakes = 2 * time.Millisecond

func (d *disk) takes() time.Duration { return writeTakes + d.slow }

// save writes the state file; it says why it could not.
func (h *host) save(s roster.Saved) string {
	if h.disk.full > 0 {
		return "no space left on device"
	}
	h.file = &s
	return ""
}

func (h *host) now() shard.Instant { return h.clock.At(h.w.queue.Now()) }

// boot starts agent and application.
func (h *host) boot() {
	h.up = true
	h.sound = h.w.queue.Now()
	h.startAgent()
	h.startApp()
}

// crash is the end of the machine: nobody is told. torn: what was being written is lost, and the file with it.
func (h *host) crash(torn bool) {
	if !h.up {
		return
	}
	h.w.say(h.name, "host crashes")
	h.up = false
	h.agent.kill("host crashed")
	h.app.kill("host crashed")
	if torn {
		h.file = nil
	}
}

// processes are those of the host that live.
func (h *host) processes() (list []*virtual.Process) {
	if h.agent != nil && h.agent.process.Alive() {
		list = append(list, h.agent.process)
	}
	if h.app.lives() {
		list = append(list, h.app.process)
	}
	return list
}

// measure looks, ten times a second, whether a lease ran out that should not have (promise 7).
func (h *host) measure() {
	now := h.w.queue.Now()
	app := h.app
	if app == nil || h.agent == nil {
		return
	}
	store := h.w.store
	sound := app.lives() && !app.cut && app.process.Runs() && h.agent.process.Runs() && store.process.Runs() && store.full == 0 && h.disk.full == 0 && h.overloaded == 0 &&
		!h.w.net.blocked(h.at, theStore) && !h.w.net.blocked(theStore, h.at) && h.w.net.late[h.at] == 0 && h.w.net.late[theStore] == 0 &&
		h.w.net.lossy == 0 && h.w.net.jumpy == 0 && app.life != nil && store.keys[h.id].Server.Incarnation == app.life.incarnation
	if !sound {
		h.sound = now
	}
	has := app.life != nil && app.life.end.Allows(h.now())
	if h.had == app.life && !has && sound && !app.life.over {
		h.w.observe(promise.Lapsed{Owner: app.life.owner(h), Sound: now - h.sound, Limit: 3 * h.w.settings.Validity})
	}
	if h.had = nil; has {
		h.had = app.life
	}
}

// life is one incarnation of the application's server, as the application knows it.
type life struct {
	incarnation shard.Incarnation
	end         shard.Instant // of the lease
	replicas    map[shard.ID]*replica
	over        bool
}

func (l *life) owner(h *host) ledger.Owner {
	return ledger.Owner{Server: h.id, Incarnation: l.incarnation}
}
