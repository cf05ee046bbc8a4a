package client

import (
	"context"
	"net/url"
	"strconv"
	"time"

	"github.com/shardmanager/shardmanager/internal/nomad/steering"
)

// Draining lists the nodes that are drained.
func (c *Client) Draining(ctx context.Context) ([]steering.Node, error) {
	var stubs []struct {
		ID, Name string
		Drain    bool
	}
	if err := c.get(ctx, "/v1/nodes", url.Values{"filter": {`SchedulingEligibility == "ineligible"`}}, &stubs); err != nil {
		return nil, err
	}
	var list []steering.Node
	for _, s := range stubs {
		if !s.Drain {
			continue
		}
		var node struct {
			DrainStrategy *struct {
				Deadline                 time.Duration
				IgnoreSystemJobs         bool
				ForceDeadline, StartedAt time.Time
			}
		}
		if err := c.get(ctx, "/v1/node/"+s.ID, nil, &node); err != nil {
			return nil, err
		}
		if d := node.DrainStrategy; d != nil {
			list = append(list, steering.Node{ID: s.ID, Name: s.Name, Drain: &steering.Drain{
				Started: d.StartedAt, Deadline: d.ForceDeadline, Forced: d.Deadline < 0, KeepSystemJobs: d.IgnoreSystemJobs,
			}})
		}
	}
	return list, nil
}

// Deployments lists those that are active.
func (c *Client) Deployments(ctx context.Context) ([]steering.Deployment, error) {
	var answer []struct {
		ID, Namespace, JobID, Status string
		JobVersion                   uint64
		TaskGroups                   map[string]struct {
			Promoted        bool
			PlacedCanaries  []string
			DesiredCanaries int
		}
	}
	query := url.Values{"namespace": {c.cfg.Namespace}, "filter": {`Status == "running" or Status == "paused"`}}
	if err := c.get(ctx, "/v1/deployments", query, &answer); err != nil {
		return nil, err
	}
	list := make([]steering.Deployment, 0, len(answer))
	for _, a := range answer {
		d := steering.Deployment{ID: a.ID, Namespace: a.Namespace, Job: a.JobID, Version: a.JobVersion, Paused: a.Status == "paused", Groups: map[string]steering.Group{}}
		for name, g := range a.TaskGroups {
			d.Groups[name] = steering.Group{Wanted: g.DesiredCanaries, Canaries: g.PlacedCanaries, Promoted: g.Promoted}
		}
		list = append(list, d)
	}
	return list, nil
}

// allocation is one as Nomad's lists have it.
type allocation struct {
	ID, Namespace, JobID, JobType, TaskGroup, Name, NodeID string
	DesiredStatus, ClientStatus, NextAllocation            string
	JobVersion                                             uint64
	CreateTime                                             int64 // nanoseconds since 1970
	DesiredTransition                                      struct{ Migrate *bool }
	DeploymentStatus                                       *struct{ Healthy *bool }
}

func (a *allocation) view() steering.Allocation {
	s := steering.Allocation{ID: a.ID, Namespace: a.Namespace, Job: a.JobID, Group: a.TaskGroup, Name: a.Name, Node: a.NodeID, Version: a.JobVersion,
		State: steering.Live, Placed: time.Unix(0, a.CreateTime).UTC(), Next: a.NextAllocation, Healthy: a.DeploymentStatus != nil && a.DeploymentStatus.Healthy != nil && *a.DeploymentStatus.Healthy}
	switch {
	case a.ClientStatus == "complete" || a.ClientStatus == "failed" || a.ClientStatus == "lost":
		s.State = steering.Ended
	case a.DesiredStatus != "run" || a.DesiredTransition.Migrate != nil && *a.DesiredTransition.Migrate:
		s.State = steering.Stopping
	}
	return s
}

// allocations are those of services: a system job's are not replaced elsewhere, and a batch job's end by themselves.
func (c *Client) allocations(ctx context.Context, path string, query url.Values) ([]steering.Allocation, error) {
	var answer []allocation
	if err := c.get(ctx, path, query, &answer); err != nil {
		return nil, err
	}
	list := make([]steering.Allocation, 0, len(answer))
	for i := range answer {
		if answer[i].JobType == "service" {
			list = append(list, answer[i].view())
		}
	}
	return list, nil
}

// OnNode lists the allocations of a node.
func (c *Client) OnNode(ctx context.Context, node string) ([]steering.Allocation, error) {
	return c.allocations(ctx, "/v1/allocations", url.Values{"namespace": {c.cfg.Namespace}, "filter": {"NodeID == " + strconv.Quote(node)}})
}

// OfJob lists the allocations of a job, those that ended included, until Nomad forgets them.
func (c *Client) OfJob(ctx context.Context, namespace, job string) ([]steering.Allocation, error) {
	return c.allocations(ctx, "/v1/job/"+url.PathEscape(job)+"/allocations", url.Values{"namespace": {namespace}})
}

// Like lists the allocations whose ids begin with a text.
func (c *Client) Like(ctx context.Context, prefix string) ([]steering.Allocation, error) {
	return c.allocations(ctx, "/v1/allocations", url.Values{"namespace": {c.cfg.Namespace}, "prefix": {prefix}})
}
