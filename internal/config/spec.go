package config

import (
	"fmt"
	"regexp"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/shardmanager/shardmanager/internal/shard"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// AppSpec is the spec of an app as a file gave it.
type AppSpec struct {
	Spec *pb.AppSpec
	*Document
}

// ReadAppSpec reads a spec from a YAML or JSON file. Fields are those of the AppSpec message; case, - and _ in their names do not matter.
// Enumerations are written without their prefix: `replication: primary-only`.
func ReadAppSpec(path string) (*AppSpec, error) {
	contents, err := ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("app spec: %w", err)
	}
	return ParseAppSpec(path, contents)
}

// ParseAppSpec reads a spec from the contents of a file.
func ParseAppSpec(path string, contents []byte) (*AppSpec, error) {
	p, spec := &problems{}, &pb.AppSpec{}
	document, err := parseMessage(path, contents, spec.ProtoReflect(), "the spec of an app", unsupported, p)
	if err != nil {
		return nil, err
	}
	a := &AppSpec{Spec: spec, Document: document}
	if len(p.found) == 0 {
		a.check(p)
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	return a, nil
}

// Locate turns the dotted field that a server refused into file, line and field; false if the file does not set it.
func (a *AppSpec) Locate(subject string) (place string, ok bool) {
	path := strings.TrimPrefix(strings.TrimPrefix(subject, "spec"), ".")
	if place, ok = a.Place(path); ok {
		place += ": " + path
	}
	return place, ok
}

// unsupported says which paths DESIGN knows and this version does not have: refused with other words than typing errors.
func unsupported(path string) bool {
	switch normal(path) {
	case "keyspace.range", "keyspace.named", "placement.regions":
		return true
	}
	return false
}

var appName = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)

// check refuses what the message's own comments rule out, so that the file's line is told before anything is sent.
func (a *AppSpec) check(p *problems) {
	at := func(path string) string {
		place, ok := a.Place(path)
		if !ok {
			place, _ = a.Place("")
		}
		return place
	}
	spec := a.Spec
	if !appName.MatchString(spec.GetName()) {
		p.add(at("name"), "name: expected 1 to 63 of a-z, 0-9 and -, starting with a letter and not ending with -, not %q", shortened(spec.GetName()))
	}
	hash := spec.GetKeySpace().GetHash()
	switch {
	case spec.GetKeySpace().GetNamed() != nil:
		if n := len(spec.GetKeySpace().GetNamed().GetIds()); n > 0 {
			p.add(at("key_space.named.ids"), "key_space.named.ids: expected none, not %d: create shards once the app is there", n)
		}
	case hash == nil:
		p.add(at("key_space"), "key_space: expected `hash: {shards: N}` or `named: {}`")
	case hash.GetShards() == 0 || hash.GetShards() > shard.MaxShards:
		p.add(at("key_space.hash.shards"), "key_space.hash.shards: expected 1 to %d, not %d", shard.MaxShards, hash.GetShards())
	}
	if spec.GetReplication() == pb.Replication_REPLICATION_UNSPECIFIED {
		spec.Replication = pb.Replication_REPLICATION_PRIMARY_ONLY
	}
	exclusive := spec.Exclusive == nil || *spec.Exclusive
	if spec.GetOnCoordinationLoss() == pb.CoordinationLoss_COORDINATION_LOSS_HOLD && exclusive && !spec.GetAcceptOverlap() {
		p.add(at("on_coordination_loss"), "on_coordination_loss: expected fence, because the app is exclusive: if two servers may serve a shard at once, "+
			"set accept_overlap: true; of a cache, exclusive: false")
	}
	for metric, load := range spec.GetPlacement().GetDefaultLoad() {
		if path := "placement.default_load." + metric; load < 0 {
			p.add(at(path), "%s: expected 0 or more, not %d", path, load)
		}
	}
	if proto.Size(spec) > MaxFileBytes {
		p.add(at(""), "expected at most %d bytes", MaxFileBytes)
	}
}
