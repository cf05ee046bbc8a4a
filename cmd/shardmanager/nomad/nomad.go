// Package nomad is the verb `shardmanager nomad-controller`: it reads the settings and runs internal/nomad/controller. Called by cmd/shardmanager.
package nomad

import (
	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/cmd/shardmanager/shell"
	"github.com/shardmanager/shardmanager/internal/config"
	"github.com/shardmanager/shardmanager/internal/daemon"
	"github.com/shardmanager/shardmanager/internal/nomad/client"
	"github.com/shardmanager/shardmanager/internal/nomad/controller"
	"github.com/shardmanager/shardmanager/internal/telemetry"
	"github.com/shardmanager/shardmanager/internal/transport"
)

// Command is the verb.
func Command(s shell.Shell, version func() string) *cobra.Command {
	cfg := controller.DefaultConfig()
	nomad := client.Config{Address: client.DefaultAddress, Namespace: client.AllNamespaces}
	var admin daemon.AdminSettings
	c := &cobra.Command{
		Use:   "nomad-controller",
		Short: "Make planned events of Nomad's drains and deployments, and hold Nomad until they are approved",
		Long: "Make planned events of Nomad's drains and deployments, and hold Nomad until they are approved. A server belongs to the allocation whose id, or the first\n" +
			"eight digits of it, ends its agent's name: kv-1a2b3c4d. An allocation is stopped once its servers are ready; canaries are promoted once they serve and\n" +
			"whom they replace is ready. deploy/nomad/kv.nomad.hcl shows what a job has to say for that.\n\n" +
			"It keeps nothing: run two of them. While none runs, what is held stays held.",
		Example: "  shardmanager nomad-controller --admin 10.0.0.1:7440,10.0.0.2:7440,10.0.0.3:7440\n" +
			"  shardmanager nomad-controller --nomad-address https://127.0.0.1:4646 --nomad-ca-file /etc/nomad.d/ca.pem --nomad-token-file /etc/shardmanager/nomad.token",
		Args: s.Exactly(),
	}
	d := daemon.New(c, help(), &cfg, &nomad, &admin)
	c.RunE = func(c *cobra.Command, _ []string) error {
		if err := d.Load(func() []daemon.Validator { return []daemon.Validator{cfg, nomad, admin} }); err != nil {
			return s.Refuse(err)
		}
		log := d.Logger(c.ErrOrStderr())
		api, err := client.New(nomad)
		if err != nil {
			return s.Refuse(err)
		}
		defer api.Close()
		ctx, stop := daemon.UntilSignal(c.Context(), log)
		defer stop()
		registry := telemetry.NewRegistry(version())
		deps := controller.Deps{Nomad: api, Log: log, Ready: func() { daemon.TellReady(log) }, Listen: transport.Listen, Metrics: registry}
		beside := controller.New(cfg, deps)
		return daemon.Administered(admin, registry, beside.Alive, beside.Ready, log, func() error { return beside.Run(ctx) })
	}
	return c
}

func help() map[string]config.Help {
	return map[string]config.Help{
		"admin":             {Text: "host:port of allocators' admin listeners, separated by commas"},
		"admin_listen":      {Text: daemon.AdminHelp},
		"listen":            {Text: "host:port for GET /ready, which answers 200 while Nomad and the leader can be seen (default none)"},
		"interval":          {Text: "how often is looked while something is under way"},
		"down_for":          {Text: "how long a server may be down: until another one serves in its place"},
		"drain_patience":    {Text: "how long after its start the deadline of a drain is put off, while servers cannot be spared; 0: never"},
		"nomad_address":     {Text: "http://host:port, https://host:port or unix:///path of Nomad's API"},
		"nomad_token_file":  {Text: "file with the ACL token, read again for each call"},
		"nomad_ca_file":     {Text: "certificates that Nomad's is checked by (default the system's)"},
		"nomad_cert_file":   {Text: "certificate for Nomad, read again for each connection"},
		"nomad_key_file":    {Text: "its key"},
		"nomad_server_name": {Text: "name in Nomad's certificate (default the address's host), such as client.global.nomad"},
		"nomad_namespace":   {Text: "namespace to look after; *: all that the token permits"},
	}
}
