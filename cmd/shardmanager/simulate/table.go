package simulate

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// What a table shows at most; JSON has all of it.
const (
	shownRounds = 12
	shownFull   = 10
	shownShards = 5
)

// mostTier is the last one that policies have.
const mostTier = 16

func what(kind pb.MoveKind, reason pb.MoveReason) string {
	return shell.EnumName(kind.String(), "MOVE_KIND_") + " (" + shell.EnumName(reason.String(), "MOVE_REASON_") + ")"
}

// of counts things.
func of(n uint32, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// table shows an answer to people.
func table(w io.Writer, a *pb.SimulateResponse) {
	head(w, a)
	if len(a.GetRounds()) > 0 {
		rounds(w, a.GetRounds())
	}
	standing(w, a.GetBefore(), a.GetAfter())
	broken(w, a.GetBefore(), a.GetAfter())
	goals(w, a.GetGoals())
	balances(w, a.GetBefore(), a.GetAfter())
	regions(w, a.GetBefore(), a.GetAfter())
	full(w, a.GetAfter())
	if len(a.GetBlocked()) > 0 {
		shell.Row(w)
		shell.Row(w, "STAYS UNDONE", "SHARDS", "FORBIDDEN BY", "SUCH AS", "BECAUSE")
		for _, b := range a.GetBlocked() {
			shell.Row(w, what(b.GetKind(), b.GetReason()), fmt.Sprint(b.GetShards()), b.GetBinds(), strings.Join(b.GetExamples()[:min(len(b.GetExamples()), shownShards)], " "), b.GetWhy())
		}
	}
}

// head says how it ends.
func head(w io.Writer, a *pb.SimulateResponse) {
	moved := ""
	for _, metric := range slices.Sorted(maps.Keys(a.GetLoadMoved())) {
		moved += fmt.Sprintf(", %s %d", metric, a.GetLoadMoved()[metric])
	}
	if moved != "" {
		moved = " with a load of " + strings.TrimPrefix(moved, ", ")
	}
	n := uint32(len(a.GetRounds()))
	switch {
	case !a.GetAtRest():
		shell.Row(w, fmt.Sprintf("%s: NOT at rest after %s: %s", a.GetApp(), of(n, "round"), a.GetStopped()))
	case n == 0:
		shell.Row(w, a.GetApp()+": placement would move nothing")
	default:
		shell.Row(w, fmt.Sprintf("%s: at rest after %s", a.GetApp(), of(n, "round")))
	}
	if n > 0 {
		shell.Row(w, fmt.Sprintf("%s: %s%s", of(a.GetMoves(), "move"), of(a.GetReplicasMoved(), "replica")+" to another server", moved))
	}
	if n := a.GetMostMoves(); n > 0 {
		text := fmt.Sprintf("most moved: shard %s, %s", a.GetMostMovedShard(), of(n, "time"))
		if group := a.GetMostMovedGroup(); group != a.GetApp() {
			text += fmt.Sprintf("; group %s, %s", group, of(a.GetGroupMoves(), "replica"))
		}
		shell.Row(w, text)
	}
	if a.GetPrimariesLost()+a.GetShardsLost() > 0 {
		shell.Row(w, fmt.Sprintf("lost by the changes: the primary of %s, every replica of %s", of(a.GetPrimariesLost(), "shard"), of(a.GetShardsLost(), "shard")))
	}
	for _, note := range a.GetNotes() {
		shell.Row(w, "note: "+note)
	}
}

// rounds shows the first of them, and the rest as one line.
func rounds(w io.Writer, list []*pb.SimulatedRound) {
	shell.Row(w)
	shell.Row(w, "ROUND", "MOVES", "OF THEM")
	show := func(at string, moves uint32, by []*pb.SimulatedMoves) {
		var texts []string
		for _, m := range by {
			texts = append(texts, fmt.Sprintf("%d %s", m.GetMoves(), what(m.GetKind(), m.GetReason())))
		}
		shell.Row(w, at, fmt.Sprint(moves), strings.Join(texts, ", "))
	}
	for i, r := range list[:min(len(list), shownRounds)] {
		show(fmt.Sprint(i+1), r.GetMoves(), r.GetBy())
	}
	if len(list) > shownRounds {
		var rest []*pb.SimulatedMoves
		sum := uint32(0)
		for _, r := range list[shownRounds:] {
			sum += r.GetMoves()
			rest = add(rest, r.GetBy())
		}
		show(fmt.Sprintf("%d to %d", shownRounds+1, len(list)), sum, rest)
	}
}

// add sums up moves of the same kind and reason.
func add(sum, more []*pb.SimulatedMoves) []*pb.SimulatedMoves {
	for _, m := range more {
		i := slices.IndexFunc(sum, func(s *pb.SimulatedMoves) bool { return s.GetKind() == m.GetKind() && s.GetReason() == m.GetReason() })
		if i < 0 {
			i, sum = len(sum), append(sum, &pb.SimulatedMoves{Kind: m.GetKind(), Reason: m.GetReason()})
		}
		sum[i].Moves += m.GetMoves()
	}
	return sum
}

// standing compares how the app stands. What is 0 before and after is left out, if it is no news.
func standing(w io.Writer, before, after *pb.SimulatedState) {
	shell.Row(w)
	shell.Row(w, "", "BEFORE", "AFTER")
	line := func(what string, always bool, of func(*pb.SimulatedState) uint32) {
		if b, a := of(before), of(after); always || b+a > 0 {
			shell.Row(w, what, fmt.Sprint(b), fmt.Sprint(a))
		}
	}
	line("servers", true, (*pb.SimulatedState).GetServers)
	line("that take shards", true, (*pb.SimulatedState).GetAccepting)
	line("shards", true, (*pb.SimulatedState).GetShards)
	line("unplaced", true, (*pb.SimulatedState).GetUnplaced)
	line("replicas", true, (*pb.SimulatedState).GetReplicas)
	line("missing", true, (*pb.SimulatedState).GetMissing)
	line("on drained servers", false, (*pb.SimulatedState).GetLeaving)
	line("on servers that are waited for", false, (*pb.SimulatedState).GetAwaited)
	line("shards with replicas too near to each other", false, (*pb.SimulatedState).GetSpreadBroken)
	line("shards with too few replicas in a region", false, (*pb.SimulatedState).GetRegionsShort)
	line("servers beyond a capacity", false, (*pb.SimulatedState).GetOverCapacity)
	line("servers above 90 % of a capacity", false, (*pb.SimulatedState).GetFullCount)
	if before.GetPrimariesInPreferred()+after.GetPrimariesInPreferred() > 0 {
		share := func(n, all uint32) string { return fmt.Sprintf("%d of %d", n, all) }
		shell.Row(w, "primaries in preferred regions", share(before.GetPrimariesInPreferred(), before.GetPrimaries()), share(after.GetPrimariesInPreferred(), after.GetPrimaries()))
		shell.Row(w, "in the first of them", share(before.GetPrimariesInFirst(), before.GetPrimaries()), share(after.GetPrimariesInFirst(), after.GetPrimaries()))
	}
}

// goals compares what they cost.
func goals(w io.Writer, list []*pb.SimulatedGoal) {
	if len(list) == 0 {
		return
	}
	shell.Row(w)
	shell.Row(w, "COST OF A GOAL", "TIER", "BEFORE", "AFTER")
	for _, g := range list {
		tier := "-"
		if g.GetTier() > 0 && g.GetTier() <= mostTier {
			tier = fmt.Sprint(g.GetTier())
		}
		shell.Row(w, g.GetGoal(), tier, g.GetBeforeText(), g.GetAfterText())
	}
}

// broken compares the constraints that do not hold.
func broken(w io.Writer, before, after *pb.SimulatedState) {
	type pair struct{ before, after *pb.SimulatedBroken }
	all := map[string]pair{}
	for _, b := range before.GetBroken() {
		all[b.GetBinds()] = pair{before: b}
	}
	for _, b := range after.GetBroken() {
		all[b.GetBinds()] = pair{all[b.GetBinds()].before, b}
	}
	if len(all) == 0 {
		return
	}
	shell.Row(w)
	shell.Row(w, "BROKEN CONSTRAINT", "BEFORE", "AFTER", "SUCH AS")
	for _, name := range slices.Sorted(maps.Keys(all)) {
		p := all[name]
		shell.Row(w, name, fmt.Sprint(p.before.GetCount()), fmt.Sprint(p.after.GetCount()), cmp.Or(p.after.GetExample(), p.before.GetExample()))
	}
}

// balances compares how evenly servers are loaded.
func balances(w io.Writer, before, after *pb.SimulatedState) {
	type of struct{ metric, region string }
	values := func(s *pb.SimulatedState) map[of]*pb.SimulatedBalance {
		m := map[of]*pb.SimulatedBalance{}
		for _, b := range s.GetBalance() {
			m[of{b.GetMetric(), b.GetRegion()}] = b
		}
		return m
	}
	b, a := values(before), values(after)
	all := maps.Clone(b)
	maps.Copy(all, a)
	if len(all) == 0 {
		return
	}
	shell.Row(w)
	shell.Row(w, "% OF FAIR SHARE", "FULLEST BEFORE", "AFTER", "EMPTIEST BEFORE", "AFTER", "DEVIATION BEFORE", "AFTER", "CAPACITY USED BEFORE", "AFTER")
	for _, key := range slices.SortedFunc(maps.Keys(all), func(x, y of) int { return cmp.Or(cmp.Compare(x.metric, y.metric), cmp.Compare(x.region, y.region)) }) {
		name := key.metric
		if key.region != "" {
			name += ", region " + key.region
		}
		shell.Row(w, name, use(b[key].GetFullest()), use(a[key].GetFullest()), use(b[key].GetEmptiest()), use(a[key].GetEmptiest()),
			deviation(b[key]), deviation(a[key]), used(b[key]), used(a[key]))
	}
}

// deviation is the standard deviation of what servers have of their fair shares.
func deviation(b *pb.SimulatedBalance) string {
	if b == nil {
		return "-"
	}
	return fmt.Sprintf("%d.%d", b.GetDeviationPermille()/10, b.GetDeviationPermille()%10)
}

// used is how much of all capacity is, and of that of the server of which most is.
func used(b *pb.SimulatedBalance) string {
	if b == nil || b.GetCapacityPercent() < 0 {
		return "-"
	}
	return fmt.Sprintf("%d %%, at most %d %%", b.GetCapacityPercent(), b.GetFullestCapacityPercent())
}

func use(u *pb.SimulatedUse) string {
	switch {
	case u.GetServer() == "":
		return "-"
	case u.GetCapacity() < 0:
		return fmt.Sprintf("%d (%s)", u.GetSharePercent(), u.GetServer())
	}
	return fmt.Sprintf("%d (%s, %d %% of its capacity)", u.GetSharePercent(), u.GetServer(), u.GetCapacityPercent())
}

// regions compares them, if there are any.
func regions(w io.Writer, before, after *pb.SimulatedState) {
	type pair struct{ before, after *pb.SimulatedRegion }
	all := map[string]pair{}
	for _, r := range before.GetRegions() {
		all[r.GetRegion()] = pair{before: r}
	}
	for _, r := range after.GetRegions() {
		all[r.GetRegion()] = pair{all[r.GetRegion()].before, r}
	}
	if _, unnamed := all[""]; len(all) == 0 || len(all) == 1 && unnamed {
		return
	}
	shell.Row(w)
	shell.Row(w, "REGION", "SERVERS", "REPLICAS", "PRIMARIES")
	change := func(p pair, of func(*pb.SimulatedRegion) uint32) string {
		if b, a := of(p.before), of(p.after); b != a {
			return fmt.Sprintf("%d → %d", b, a)
		}
		return fmt.Sprint(of(p.after))
	}
	for _, region := range slices.Sorted(maps.Keys(all)) {
		p := all[region]
		shell.Row(w, cmp.Or(region, "-"), change(p, (*pb.SimulatedRegion).GetServers), change(p, (*pb.SimulatedRegion).GetReplicas), change(p, (*pb.SimulatedRegion).GetPrimaries))
	}
}

// full lists servers near a capacity.
func full(w io.Writer, after *pb.SimulatedState) {
	if len(after.GetFull()) == 0 {
		return
	}
	shell.Row(w)
	shell.Row(w, "NEAR A CAPACITY AFTER", "METRIC", "LOAD", "OF")
	for _, u := range after.GetFull()[:min(len(after.GetFull()), shownFull)] {
		shell.Row(w, u.GetServer(), u.GetMetric(), fmt.Sprint(u.GetLoad()), fmt.Sprintf("%d (%d %%)", u.GetCapacity(), u.GetCapacityPercent()))
	}
}
