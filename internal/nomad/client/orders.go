package client

import (
	"context"
	"time"
)

// Stop stops an allocation; Nomad places another one, if its job wants it.
func (c *Client) Stop(ctx context.Context, namespace, allocation string) error {
	return c.post(ctx, "/v1/allocation/"+allocation+"/stop", namespace, nil)
}

// Pause pauses a deployment.
func (c *Client) Pause(ctx context.Context, namespace, deployment string) error {
	return c.post(ctx, "/v1/deployment/pause/"+deployment, namespace, map[string]any{"DeploymentID": deployment, "Pause": true})
}

// Resume lets a deployment that is paused go on.
func (c *Client) Resume(ctx context.Context, namespace, deployment string) error {
	return c.post(ctx, "/v1/deployment/pause/"+deployment, namespace, map[string]any{"DeploymentID": deployment, "Pause": false})
}

// Promote promotes all canaries of a deployment.
func (c *Client) Promote(ctx context.Context, namespace, deployment string) error {
	return c.post(ctx, "/v1/deployment/promote/"+deployment, namespace, map[string]any{"DeploymentID": deployment, "All": true})
}

// DrainWithin sets the deadline of a node's drain to so long from now; when it began stays as it is.
func (c *Client) DrainWithin(ctx context.Context, node string, left time.Duration, keepSystemJobs bool) error {
	return c.post(ctx, "/v1/node/"+node+"/drain", "", map[string]any{
		"NodeID": node, "DrainSpec": map[string]any{"Deadline": left.Nanoseconds(), "IgnoreSystemJobs": keepSystemJobs},
	})
}
