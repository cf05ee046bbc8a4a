package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/agent"
	"github.com/shardmanager/shardmanager/agent/roster"
	"github.com/shardmanager/shardmanager/allocator"
	"github.com/shardmanager/shardmanager/allocator/api"
	"github.com/shardmanager/shardmanager/internal/telemetry"
	"github.com/shardmanager/shardmanager/internal/transport"
)

// AdminSettings say where a daemon that has no AdminService tells machines about itself.
type AdminSettings struct {
	AdminListen string `yaml:"admin_listen"`
}

// Validate names a wrong setting, and what to do.
func (s AdminSettings) Validate() error {
	if s.AdminListen == "" {
		return nil
	}
	if err := transport.Check(s.AdminListen); err != nil {
		return fmt.Errorf("admin_listen: %w: choose another address, or none", err)
	}
	return nil
}

// AdminHelp is the help of AdminSettings.
const AdminHelp = "host:port or unix:///path for metrics, health, readiness and profiles (default none)"

// Administered runs a daemon, and its admin listener beside it if the settings name one.
func Administered(s AdminSettings, metrics prometheus.Gatherer, live, ready telemetry.Check, log zerolog.Logger, run func() error) error {
	if s.AdminListen == "" {
		return run()
	}
	l, err := transport.Listen(s.AdminListen)
	if err != nil {
		return fmt.Errorf("admin_listen: %w: choose another address, or none", err)
	}
	defer telemetry.Serve(l, metrics, live, ready, func(err error) { log.Error().Err(err).Msg("admin listener ended") })()
	log.Info().Stringer("admin", l.Addr()).Msg("admin listener serves")
	return run()
}

// AllocatorReady looks whether an allocator does its work: it leads and can prove it, or knows who does, and the store answers.
func AllocatorReady(a *allocator.Allocator) telemetry.Check {
	return func(ctx context.Context) error {
		if err := api.Unfit(ctx, a, false); err != nil {
			return err
		}
		if a.Status().Leader == "" {
			return errors.New("no allocator leads")
		}
		return nil
	}
}

// AgentAlive looks whether an agent's loop answers.
func AgentAlive(a *agent.Agent) telemetry.Check {
	return func(ctx context.Context) error {
		_, err := a.Status(ctx)
		return err
	}
}

// AgentReady looks whether every application beside an agent may serve: it is registered, has a lease, and its agent hears the leader. An agent
// without applications is ready.
func AgentReady(a *agent.Agent) telemetry.Check {
	return func(ctx context.Context) error {
		status, err := a.Status(ctx)
		if err != nil {
			return err
		}
		var wrong []string
		for _, v := range status.Servers {
			if why := notReady(v); why != "" {
				wrong = append(wrong, string(v.Server.App)+": "+why)
			}
		}
		if len(wrong) > 0 {
			return errors.New(strings.Join(wrong, "; "))
		}
		return nil
	}
}

func notReady(v roster.View) string {
	switch {
	case v.Life == roster.Waiting && v.Application == (roster.Process{}): // its application is not here; why it left is no problem of now
		return ""
	case v.Problem != "":
		return v.Problem
	case v.Life != roster.Live:
		return v.Life.String()
	case v.Remaining <= 0:
		return "no lease"
	case !v.Attached:
		return "not attached to the leader"
	}
	return ""
}
