package simulate

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/shardmanager/shardmanager/allocator/policy"
	"github.com/shardmanager/shardmanager/internal/config"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// million is how many millionths a factor of 1 has; a factor is at most a million.
const million = 1_000_000

// changes reads the flags of changes. Its errors name the flag.
func (v *verb) changes(app string) (*pb.SimulatedChanges, error) {
	c := &pb.SimulatedChanges{Drain: v.drain, LoseServers: v.loseServers, LoseRegions: v.loseRegions}
	for _, text := range v.loseZones {
		region, zone, ok := strings.Cut(text, "/")
		if !ok || region == "" || zone == "" {
			return nil, fmt.Errorf("--lose-zone: expected REGION/ZONE, such as eu/1, not %q", text)
		}
		c.LoseZones = append(c.LoseZones, &pb.Locality{Region: region, Zone: zone})
	}
	for _, text := range v.add {
		a, err := addition(text)
		if err != nil {
			return nil, err
		}
		c.AddServers = append(c.AddServers, a)
	}
	for _, text := range v.loads {
		l, err := load(text)
		if err != nil {
			return nil, err
		}
		c.Loads = append(c.Loads, l)
	}
	for _, text := range v.factors {
		f, err := factor(text)
		if err != nil {
			return nil, err
		}
		c.LoadFactors = append(c.LoadFactors, f)
	}
	if v.specFile != "" {
		spec, err := config.ReadAppSpec(v.specFile)
		if err != nil {
			return nil, fmt.Errorf("--spec: %w", err)
		}
		v.spec, c.Spec = spec, spec.Spec
	}
	if v.policyFile != "" {
		contents, err := config.ReadFile(v.policyFile)
		if err != nil {
			return nil, fmt.Errorf("--policy: %w", err)
		}
		source, err := (policy.Admission{Partial: true}).Parse(v.policyFile, contents, app)
		if err != nil {
			return nil, fmt.Errorf("--policy: %w", err)
		}
		c.Policy = source.Policy()
	}
	return c, nil
}

// addition reads N@REGION/ZONE/RACK; parts may be missing at the end, as they are where servers have no locality.
func addition(text string) (*pb.AddedServers, error) {
	number, place, located := strings.Cut(text, "@")
	n, err := strconv.ParseUint(number, 10, 32)
	parts := strings.Split(place, "/")
	bad := err != nil || n == 0 || len(parts) > 3
	for _, part := range parts {
		bad = bad || located && part == ""
	}
	if bad {
		return nil, fmt.Errorf("--add-servers: expected N@REGION/ZONE or N@REGION/ZONE/RACK with N of 1 or more, such as 3@eu/1, not %q", text)
	}
	parts = append(parts, "", "")
	return &pb.AddedServers{Count: uint32(n), Locality: &pb.Locality{Region: parts[0], Zone: parts[1], Rack: parts[2]}}, nil
}

// load reads SHARD=METRIC:VALUE.
func load(text string) (*pb.SimulatedLoad, error) {
	id, rest, named := strings.Cut(text, "=")
	metric, number, valued := strings.Cut(rest, ":")
	value, err := strconv.ParseInt(number, 10, 64)
	if !named || !valued || id == "" || metric == "" || err != nil || value < 0 {
		return nil, fmt.Errorf("--load: expected SHARD=METRIC:VALUE with a whole VALUE of 0 or more, such as 07=requests:250, not %q", text)
	}
	return &pb.SimulatedLoad{Shard: id, Metric: metric, Value: value}, nil
}

// factor reads METRIC=FACTOR.
func factor(text string) (*pb.LoadFactor, error) {
	metric, number, ok := strings.Cut(text, "=")
	by, err := strconv.ParseFloat(number, 64)
	if !ok || metric == "" || err != nil || !(by >= 0 && by <= million) { // NaN is neither
		return nil, fmt.Errorf("--load-factor: expected METRIC=FACTOR with a FACTOR of 0 to %d, such as requests=1.5, not %q", million, text)
	}
	return &pb.LoadFactor{Metric: metric, Millionths: int64(math.Round(by * million))}, nil
}
