// Package problem states placement for the engine: servers with capacities and fault domains, replicas with loads and groups, constraints, and
// goals in tiers. All of it is by index from 0, and in flat arrays, so that a search can read it as it is.
package problem

// Unplaced is the place of a replica that has none.
const Unplaced int32 = -1

// Problem is what is to be solved. Amounts are integers in units of the caller's choice. A search
// shares its slices and never writes them.
type Problem struct {
	Metrics, Servers, Replicas, Groups int

	Capacity []int64   // [Servers × Metrics], server by server: hard
	During   []bool    // [Metrics]: a moved replica is charged at its start too, as long as moves are under way
	Domains  [][]int32 // [levels][Servers]: the fault domain of each server at each level, labelled 0, 1, …

	Load     []int64    // [Replicas × Metrics], replica by replica
	Group    []int32    // [Replicas]: the shard or service
	Start    []int32    // [Replicas]: the server now, or Unplaced
	First    []int32    // [Replicas]: where the search begins; nil: at Start
	Pinned   []bool     // [Replicas]: stays where it is; nil: none
	Class    []int32    // [Replicas]: its row of Eligible; nil: all of class 0
	Eligible [][]uint64 // [classes]: bits of the servers where it may be; nil, or a nil row: everywhere

	Exclusive []bool // [Groups]: no two replicas on one server
	Spreads   []Spread
	Relations []Relation
	Caps      Caps

	Tiers      int // of goals, at most MaxTiers; tier 0 is the most important
	Unplaced   Goal
	Affinities []Affinity
	Thresholds []Threshold
	Ratios     []Ratio
	Balances   []Balance
	Peaks      []Balance // of which only the fullest servers cost anything
	Failovers  []Failover
	Opening    Opening
	Movement   Movement
}

// MaxTiers is how many tiers of goals there may be.
const MaxTiers = 23

// Goal is how much a unit of something costs, and in which tier.
type Goal struct {
	Weight int64
	Tier   int
}

// Spread says over how many domains of a level the replicas of a group are spread. 0 demands nothing.
type Spread struct {
	Group, Level int
	Min          int // hard: in at least so many domains
	Max          int // hard: at most so many in one domain
	Want         int // a goal: each domain fewer than that costs Goal.Weight
	Goal         Goal
}

// Relation demands that each replica of a group be in a domain of a level where a replica of the group On is too, or, with Not, where
// none is.
type Relation struct {
	Group, On, Level int
	Not              bool
}

// Caps bound how many replicas are elsewhere than they started: the moves that carry it out. 0 bounds nothing.
type Caps struct {
	Server []int32 // [Servers] or nil: from or to a server
	Group  int32   // of one group
	Total  int32
}

// Affinity costs Weight × Cost[Of[replica]][domain of its server], for each unit of the metric Scale if that is not negative. Region
// preferences, latency, and servers that are to be left are all of this kind.
type Affinity struct {
	Level int
	Of    []int32   // [Replicas]
	Cost  [][]int64 // [rows][domains of Level]
	Scale int       // a metric, or -1
	Goal
}

// Threshold costs Weight for each unit of use above a server's limit ("safety capacity") or, with Per, for each begun millionth of that, at most
// MaxMillionths.
type Threshold struct {
	Metric int
	Limit  []int64 // [Servers]
	Per    []int64 // [Servers], at least 1: the capacity; nil: units
	Goal
}

// MaxMillionths is the largest excess that a Threshold tells apart: a thousand times a capacity.
const MaxMillionths = 1_000_000_000

// Ratio wants Target units free of metric B for each free one of metric A: it costs Weight × max(0, Target × free(A) − free(B)) on
// each server.
type Ratio struct {
	A, B   int
	Target int64
	Goal
}

// Balance costs Weight × u² on each server, where u is by how many units its use of the metric differs from its share by more than the
// slack, rounded down. The sum of squares is least when all servers have their share. u is at most MaxUnits.
//
// As a peak ("largest"), it costs what the fullest servers of each domain have above their share: the height of a server is u − Free; where h > 0 is the
// largest in a domain of n servers and c of them have it, that is Weight × ((h − 1) × n + c). So the fullest counts first, then how many are as full.
type Balance struct {
	Metric int
	Share  []int64 // [Servers]; it may be negative, where load that is not in the problem is on the server
	Slack  []int64 // [Servers]; nil: none
	Unit   []int64 // [Servers], at least 1
	Free   []int64 // [Servers]: so much of u² costs nothing: what is uneven already, and may stay; nil: none
	Above  bool    // only what is above the share counts; of a peak, it always is
	Level  int     // of a peak: the domains; -1: all servers are one
	Goal
}

// MaxUnits is the largest difference that a Balance or Failover tells apart.
const MaxUnits = 1 << 20

// Failover costs what one domain would take over too much of another that fails: for each two domains a and b, Weight × u², where u, at most MaxUnits, is
// by how many more than Fair[a] pairs there are of a replica in a that leads and another of its group in b.
type Failover struct {
	Level int
	Lead  []bool  // [Replicas]
	Fair  []int64 // [domains of Level]
	Goal
}

// Opening costs Weight × Cost[server] for each server with a replica ("per server-hour").
type Opening struct {
	Cost []int64 // [Servers]; nil: nothing
	Goal
}

// Movement costs what leaves its start. A replica that had no place moves for nothing.
type Movement struct {
	Replica       []int64 // [Replicas] or nil: cost of moving this replica
	ReplicaWeight int64
	Route         []uint32 // [Servers × Servers] or nil: cost of moving from the row's server to the column's
	RouteWeight   int64
	GroupWeight   int64   // for each moved replica of the crowd of which most replicas moved
	Crowd         []int32 // [Groups]: labels, 0, 1, …; nil: each group is one by itself
	Tier          int
}
