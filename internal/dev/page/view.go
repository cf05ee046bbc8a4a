package page

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// view is what the page shows at one moment. It is made of values only, so that a recorded one shows the same.
type view struct {
	At       time.Time
	Trouble  string // why the leader could not be asked; what it is needed for is then as last known
	Links    []Link
	Health   []fact
	Promises []fact
	Regions  []region
	Moves    []moveView
	MoreMoves,
	OpenMoves int
	Load   loadView
	Events []eventView
	Play   Play
}

// fact is one figure of a line.
type fact struct {
	Name, Value string
	Bad         bool // somebody should look
}

// region is a region and its zones, by name.
type region struct {
	Name  string
	Zones []zone
}

// zone is a zone and its servers, by id.
type zone struct {
	Name    string
	Servers []serverView
}

// serverView is a server as the leader sees it, and as the map does.
type serverView struct {
	ID, State, Note   string // State as operators write it, or "gone"
	Draining          bool
	Cells             []cell
	Primaries, Others int
}

// cell is one replica on a server.
type cell struct {
	Shard string
	Kind  string // primary, secondary; arriving or leaving while it moves
}

// moveView is a move under way.
type moveView struct {
	Shard, From, To, Why, Step, Waits, For string
	Done                                   int // of 8 steps
	Attempts                               uint32
}

// loadView is the load as the generator measures it.
type loadView struct {
	Requests, Failed, PerSecond int64
	P50MS, P99MS                float64
	Rate, Failures              []bar // of the last seconds, oldest first
}

// bar of a chart: in a box of 60 × 40.
type bar struct{ X, Y, Height int }

// eventView is one event.
type eventView struct{ At, What, About, Why, Kind string }

// moveRows and eventRows are how many are shown.
const (
	moveRows  = 10
	eventRows = 40
)

// serversOf is one status of each server: those listed, and for a while those that were.
func serversOf(list []*pb.ServerStatus, seen map[string]sighting, now time.Time) []*pb.ServerStatus {
	present := map[string]*pb.ServerStatus{}
	for _, s := range list {
		id := s.GetServer().GetId()
		if have := present[id]; have == nil || have.GetState() == pb.ServerState_SERVER_STATE_ENDED {
			present[id] = s
		}
	}
	for id, s := range present {
		seen[id] = sighting{s, now}
	}
	var all []*pb.ServerStatus
	for _, id := range slices.Sorted(maps.Keys(seen)) {
		switch {
		case present[id] != nil:
			all = append(all, present[id])
		case now.Sub(seen[id].at) > forgetAfter:
			delete(seen, id)
		default:
			all = append(all, &pb.ServerStatus{Server: seen[id].status.GetServer()}) // without a state: gone
		}
	}
	return all
}

// sighting is a server as last listed.
type sighting struct {
	status *pb.ServerStatus
	at     time.Time
}

// regionsOf groups servers by place.
func regionsOf(servers []*pb.ServerStatus, held map[string][]cell) []region {
	var regions []region
	slices.SortStableFunc(servers, func(a, b *pb.ServerStatus) int {
		x, y := a.GetServer().GetLocality(), b.GetServer().GetLocality()
		return cmp.Or(cmp.Compare(x.GetRegion(), y.GetRegion()), cmp.Compare(x.GetZone(), y.GetZone()))
	})
	for _, s := range servers {
		at := s.GetServer().GetLocality()
		if n := len(regions); n == 0 || regions[n-1].Name != at.GetRegion() {
			regions = append(regions, region{Name: at.GetRegion()})
		}
		r := &regions[len(regions)-1]
		if n := len(r.Zones); n == 0 || r.Zones[n-1].Name != at.GetZone() {
			r.Zones = append(r.Zones, zone{Name: at.GetZone()})
		}
		z := &r.Zones[len(r.Zones)-1]
		z.Servers = append(z.Servers, serverOf(s, held[s.GetServer().GetId()]))
	}
	return regions
}

func serverOf(s *pb.ServerStatus, cells []cell) serverView {
	v := serverView{ID: s.GetServer().GetId(), State: name(s.GetState().String(), "SERVER_STATE_"), Note: s.GetReason(), Draining: s.GetDraining(), Cells: cells}
	switch state := s.GetState(); {
	case state == pb.ServerState_SERVER_STATE_UNSPECIFIED:
		v.State, v.Note = "gone", "not listed any more"
	case state == pb.ServerState_SERVER_STATE_ATTACHED && v.Note == "":
		v.Note = "renewed " + span(s.GetLastRenewalMs()) + " ago"
		if version := s.GetServer().GetVersion(); version != "" {
			v.Note = version + ", " + v.Note
		}
	}
	for _, c := range cells {
		switch c.Kind {
		case "secondary":
			v.Others++
		case "arriving":
		default:
			v.Primaries++
		}
	}
	return v
}

// cellsOf is who holds what, by the map and the open moves.
func cellsOf(m *shard.Map, moves []*pb.MoveStatus) map[string][]cell {
	held := map[string][]cell{}
	if m == nil {
		return held
	}
	leaving, arriving := map[string]string{}, map[string]string{}
	for _, v := range moves {
		if v.GetFrom() != "" && v.GetFrom() != v.GetTo() {
			leaving[v.GetShard()], arriving[v.GetShard()] = v.GetFrom(), v.GetTo()
		}
	}
	for i := range m.Space.Shards {
		id := string(m.Space.ID(shard.Index(i)))
		owner := ""
		if s, _ := m.Lookup(shard.Index(i)); s != nil {
			owner = string(s.ID)
			kind := "primary"
			if leaving[id] == owner {
				kind = "leaving"
			}
			held[owner] = append(held[owner], cell{id, kind})
		}
		if to := arriving[id]; to != "" && to != owner {
			held[to] = append(held[to], cell{id, "arriving"})
		}
		for k := 0; ; k++ {
			s := m.Secondary(shard.Index(i), k)
			if s == nil {
				break
			}
			held[string(s.ID)] = append(held[string(s.ID)], cell{id, "secondary"})
		}
	}
	return held
}

// stepsDone is how far a move is, in the eight steps.
var stepsDone = map[pb.MoveStep]int{
	pb.MoveStep_MOVE_STEP_OPENING: 1, pb.MoveStep_MOVE_STEP_PREPARE_ADD: 2, pb.MoveStep_MOVE_STEP_PREPARE_DROP: 3, pb.MoveStep_MOVE_STEP_COMMITTING: 4,
	pb.MoveStep_MOVE_STEP_ADD: 5, pb.MoveStep_MOVE_STEP_LINGER: 6, pb.MoveStep_MOVE_STEP_DROP: 7, pb.MoveStep_MOVE_STEP_CLOSING: 8,
}

func movesOf(open []*pb.MoveStatus) []moveView {
	var list []moveView
	for _, m := range open[:min(len(open), moveRows)] {
		list = append(list, moveView{
			Shard: m.GetShard(), From: m.GetFrom(), To: m.GetTo(), Why: name(m.GetReason().String(), "MOVE_REASON_"),
			Step: name(m.GetStep().String(), "MOVE_STEP_"), Done: stepsDone[m.GetStep()], Waits: m.GetDetail(), For: span(m.GetStepAgeMs()), Attempts: m.GetAttempts(),
		})
	}
	return list
}

// lineOf is an event for people.
func lineOf(e *pb.Event) eventView {
	l := eventView{At: time.UnixMilli(e.GetTimeMs()).Format("15:04:05.0")}
	switch b := e.GetBody().(type) {
	case *pb.Event_Decision:
		d := b.Decision
		l.What, l.Why, l.Kind, l.About = d.GetWhat(), d.GetWhy(), "e-decision", d.GetServer()
		if d.GetShard() != "" {
			l.About = strings.TrimSpace("shard " + d.GetShard() + " " + d.GetServer())
		}
	case *pb.Event_Server:
		s := b.Server
		l.What, l.About, l.Why, l.Kind = "server "+name(s.GetState().String(), "SERVER_STATE_"), s.GetServer(), s.GetReason(), "e-server"
		if s.GetDraining() {
			l.What += ", draining"
		}
	case *pb.Event_Leader:
		l.What, l.About, l.Why, l.Kind = "leader ends", b.Leader.GetAllocator(), b.Leader.GetWhy(), "e-leader"
		if b.Leader.GetLeads() {
			l.What = "leader begins"
		}
	case *pb.Event_Gap:
		l.What, l.Why, l.Kind = "events are missing", b.Gap.GetWhy(), "e-leader"
	}
	return l
}

// name writes a value of an enumeration as people say it.
func name(full, prefix string) string {
	return strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(full, prefix), "_", "-"))
}

// span writes milliseconds in a width that hardly changes.
func span(ms int64) string {
	if ms < 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f s", float64(ms)/1000)
}
