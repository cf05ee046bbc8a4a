package api

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"connectrpc.com/connect"

	"github.com/shardmanager/shardmanager/allocator/ledger"
	"github.com/shardmanager/shardmanager/allocator/policy"
	"github.com/shardmanager/shardmanager/allocator/policy/resolve"
	"github.com/shardmanager/shardmanager/internal/shard"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// admit refuses a spec whose policy is not sound, says what the spec says elsewhere, or conflicts with the cluster's defaults.
func (a *Admin) admit(ctx context.Context, spec *pb.AppSpec) error {
	admission := policy.Admission{Cluster: a.policies.Cluster()}
	if spec.GetPolicy() != nil {
		view, err := a.view(ctx)
		if err != nil {
			return err
		}
		admission.Regions = a.regions(view, spec.GetName())
	}
	_, err := admission.Admit(spec)
	return refusedPolicy(err)
}

// regions are those that a policy may name: where servers are, or were measured or configured, and what is written down already, for a region
// that is lost must not be in the way of an update. Nil: there are none yet.
func (a *Admin) regions(view *View, app string) []string {
	names := map[string]bool{}
	for _, s := range view.Servers {
		names[s.Server.Locality.Region] = true
	}
	written := a.places.Matrix().Regions()
	if cluster := a.policies.Cluster(); cluster != nil {
		written = append(written, policy.Regions(cluster.Policy())...)
	}
	delete(names, "")
	if len(names)+len(written) == 0 {
		return nil
	}
	if i := slices.IndexFunc(view.Specs, func(s ledger.Spec) bool { return string(s.Name) == app }); i >= 0 {
		if stored, err := resolve.Read(a.policies.Cluster(), view.Specs[i].Name, view.Specs[i].Written); err == nil {
			written = append(written, policy.Regions(stored.Policy())...)
		}
	}
	for _, name := range written {
		names[name] = true
	}
	return shard.SortedKeys(names)
}

// refusedPolicy tells the first problem of a policy, by its field.
func refusedPolicy(err error) error {
	if err == nil {
		return nil
	}
	subject, text := "policy", err.Error()
	if first := (*policy.Problem)(nil); errors.As(err, &first) {
		text = first.Error()
		if app, field := first.At.Of(); app != "" && field != "" {
			subject, text = field, first.Text
		}
		if all, ok := err.(interface{ Unwrap() []error }); ok && len(all.Unwrap()) > 1 {
			text += fmt.Sprintf(" (and %d more)", len(all.Unwrap())-1)
		}
	}
	return wire.Error(connect.CodeInvalidArgument, pb.ErrorReason_ERROR_REASON_INVALID, subject, text, "")
}

// GetPolicy implements AdminServiceHandler.
func (a *Admin) GetPolicy(ctx context.Context, req *pb.GetPolicyRequest) (*pb.GetPolicyResponse, error) {
	view, err := a.view(ctx)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(view.Specs, func(s ledger.Spec) bool { return string(s.Name) == req.GetApp() })
	if at < 0 {
		return nil, a.noSuchApp("app", req.GetApp())
	}
	spec := &view.Specs[at]
	app, err := resolve.Read(a.policies.Cluster(), spec.Name, spec.Written)
	if err != nil {
		return nil, wire.Error(connect.CodeFailedPrecondition, pb.ErrorReason_ERROR_REASON_INVALID, "policy",
			fmt.Sprintf("a policy that this version can read: update the app: %v", err), "")
	}
	id := shard.ID(req.GetShard())
	layers := []*policy.Source{a.policies.Cluster(), app}
	if id != "" {
		if m, ok := a.maps.Map(spec.Name); !ok || !hasShard(m, id) {
			return nil, wire.Error(connect.CodeNotFound, pb.ErrorReason_ERROR_REASON_INVALID, "shard",
				fmt.Sprintf("expected the id of a shard of %s, not %q", spec.Name, id), "")
		}
		layers = append(layers, app.Shards(string(id))...)
	}
	effective, conflicts := policy.Compose(layers...)
	out := new(pb.GetPolicyResponse)
	var origins []policy.Stated
	out.Effective, origins = effective.Policy()
	for _, o := range origins {
		out.Origins = append(out.Origins, &pb.PolicyOrigin{Field: o.Field, Origin: o.From.String()})
	}
	for _, c := range conflicts {
		out.Notes = append(out.Notes, c.String())
	}
	return out, a.addNotes(ctx, spec, out)
}

func hasShard(m *shard.Map, id shard.ID) bool {
	_, ok := m.IndexOf(id)
	return ok
}

// addNotes says what the servers that there are now add, such as expressions that have no value for some.
func (a *Admin) addNotes(ctx context.Context, spec *ledger.Spec, out *pb.GetPolicyResponse) error {
	id, ok := a.anyShard(spec)
	leader := a.node.Leader()
	if !ok || leader == nil {
		return nil
	}
	known, err := leader.Explain(ctx, spec.Name, id)
	if err != nil {
		return a.lost(err)
	}
	for _, note := range a.policies.Resolve(ctx, &known.Input, resolve.Published{Maps: a.maps}) {
		if !slices.Contains(out.Notes, note) {
			out.Notes = append(out.Notes, note)
		}
	}
	return nil
}
