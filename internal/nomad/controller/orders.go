package controller

import (
	"context"
	"fmt"
	"strings"

	"github.com/shardmanager/shardmanager/allocator/eventspec"
	"github.com/shardmanager/shardmanager/allocator/maintenance/event"
	"github.com/shardmanager/shardmanager/internal/nomad/steering"
	"github.com/shardmanager/shardmanager/internal/operator"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// carryOut gives orders, and tells of each once: an order repeats until a look shows its effect.
func (c *Controller) carryOut(ctx context.Context, plan steering.Plan) {
	told := map[string]string{}
	for _, o := range plan.Orders {
		what, fields := describe(o)
		key := what + " " + fmt.Sprint(fields)
		result := ""
		err := c.give(ctx, o)
		if err != nil {
			result = err.Error()
		}
		c.counts.Ordered(strings.ReplaceAll(what, " ", "_"), err)
		before, known := c.told[key]
		told[key] = result
		switch {
		case ctx.Err() != nil, known && before == result:
		case result != "":
			c.log.Warn().Fields(fields).Str("what", what).Str("error", result).Msg("order refused")
		default:
			c.log.Info().Fields(fields).Str("what", what).Msg("order")
		}
	}
	notes := map[string]bool{}
	for _, n := range plan.Notes {
		if notes[n] = true; !c.noted[n] {
			c.log.Info().Str("why", n).Msg("holds")
		}
	}
	c.told, c.noted = told, notes
}

// describe is an order for the log.
func describe(o steering.Order) (what string, fields map[string]any) {
	switch o := o.(type) {
	case steering.Request:
		return "request", map[string]any{"event": o.ID, "servers": o.Scope.Servers}
	case steering.Finish:
		return "finish", map[string]any{"event": o.Event, "server": o.Server}
	case steering.Cancel:
		return "cancel", map[string]any{"event": o.Event}
	case steering.Stop:
		return "stop", map[string]any{"allocation": o.Allocation}
	case steering.Pause:
		return "pause", map[string]any{"deployment": o.Deployment}
	case steering.Resume:
		return "resume", map[string]any{"deployment": o.Deployment}
	case steering.Promote:
		return "promote", map[string]any{"deployment": o.Deployment}
	case steering.PutOff:
		return "put off", map[string]any{"node": o.Node}
	}
	return "", nil
}

// give carries one order out.
func (c *Controller) give(ctx context.Context, o steering.Order) error {
	switch o := o.(type) {
	case steering.Request:
		request := eventspec.ToProto(&event.Event{Request: o.Request}).GetRequest()
		return tell(ctx, c, shardmanagerv1connect.AdminServiceClient.RequestMaintenance, &pb.RequestMaintenanceRequest{Request: request})
	case steering.Finish:
		return tell(ctx, c, shardmanagerv1connect.AdminServiceClient.FinishMaintenance, &pb.FinishMaintenanceRequest{Id: o.Event, Servers: []string{string(o.Server)}})
	case steering.Cancel:
		return tell(ctx, c, shardmanagerv1connect.AdminServiceClient.CancelMaintenance, &pb.CancelMaintenanceRequest{Id: o.Event})
	case steering.Stop:
		return c.nomad.Stop(ctx, o.Namespace, o.Allocation)
	case steering.Pause:
		return c.nomad.Pause(ctx, o.Namespace, o.Deployment)
	case steering.Resume:
		return c.nomad.Resume(ctx, o.Namespace, o.Deployment)
	case steering.Promote:
		return c.nomad.Promote(ctx, o.Namespace, o.Deployment)
	case steering.PutOff:
		return c.nomad.DrainWithin(ctx, o.Node, o.Left, o.KeepSystemJobs)
	}
	return nil
}

func tell[Q, A any](ctx context.Context, c *Controller, call operator.Method[Q, A], request *Q) error {
	_, err := operator.Leader(ctx, c.leader, call, request)
	return err
}
