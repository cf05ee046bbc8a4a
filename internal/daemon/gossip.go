package daemon

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/agent"
	"github.com/shardmanager/shardmanager/internal/config"
	"github.com/shardmanager/shardmanager/internal/gossip"
)

// gossipHelp is the help of the settings of gossip, the same for all daemons.
func gossipHelp() map[string]config.Help {
	return map[string]config.Help{
		"gossip_listen":    {Text: "host:port for gossip between agents and allocators, TCP and UDP, such as 10.0.0.1:7430 (default none: no gossip)"},
		"gossip_advertise": {Text: "host:port where other members reach it (default where it listens)"},
		"gossip_join":      {Text: "host:port of a few members to begin with, separated by commas (with store consul, those in its catalog too)"},
		"gossip_key_file":  {Text: "keyring: keys in base64, a line each, the one to encrypt with first (default none: neither encrypted nor authenticated)"},
		"gossip_profile":   {Text: "times: lan, or wan for members more than 300 ms apart (default lan)"},
	}
}

// TakingPart runs a daemon as a member of gossip, if that is configured: node is nil if not. A member that ends for a planned restart says
// nothing, others leave. Members to begin with are those of gossip_join, and those that the catalog of the store names.
func TakingPart(
	cfg gossip.Config, identity gossip.Identity, stateDir string, seeds func(ctx context.Context, self string) ([]string, error), log zerolog.Logger, run func(node *gossip.Node) error,
) error {
	if !cfg.On() {
		return run(nil)
	}
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return fmt.Errorf("state_dir: %w", err)
	}
	node, err := gossip.Open(cfg, identity, gossip.Deps{
		Log: log, Seeds: seeds, Peers: filepath.Join(stateDir, "gossip.peers"), Deliver: func(e gossip.Event) { tellMember(log, e) },
	})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	joined := make(chan struct{})
	go func() {
		defer close(joined)
		_ = node.Run(ctx) // the end of ctx
	}()
	err = run(node)
	stop()
	<-joined
	if errors.Is(err, agent.ErrRestart) {
		return errors.Join(err, node.Shutdown())
	}
	return errors.Join(err, node.Leave())
}

func tellMember(log zerolog.Logger, e gossip.Event) {
	m := e.Member
	log.Info().Stringer("what", e.Kind).Str("role", string(m.Role)).Str("member", m.Name).Str("life", m.Life).Str("region", m.Region).
		Str("address", m.Address).Msg("gossip member")
}
