package daemon

import (
	"fmt"
	"os"

	"github.com/shardmanager/shardmanager/internal/config"
	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/consul"
	"github.com/shardmanager/shardmanager/internal/coord/embedded"
)

// Coordination stores, as settings name them.
const (
	EmbeddedStore = "embedded"
	ConsulStore   = "consul"
)

// DefaultStoreAddress is where `shardmanager store` listens.
const DefaultStoreAddress = "127.0.0.1:7450"

// StoreSettings say which store an allocator uses. (An agent has the same keys in its own configuration.)
type StoreSettings struct {
	Store   string `yaml:"store"`
	Address string `yaml:"store_address"`
}

func (s StoreSettings) Validate() error {
	if s.Store != EmbeddedStore && s.Store != ConsulStore {
		return fmt.Errorf("store: expected %s or %s, not %q", EmbeddedStore, ConsulStore, s.Store)
	}
	return nil
}

// consulHelp is the help of the settings of Consul, which every daemon with a store has.
func consulHelp() map[string]config.Help {
	return map[string]config.Help{
		"consul_addresses": {
			Text: "host:port, http://, https:// or unix:///path of Consul, several separated by commas (default CONSUL_HTTP_ADDR, then " + consul.DefaultAddress + ")"},
		"consul_token":       {Text: "ACL token; better in a file or in SHARDMANAGER_CONSUL_TOKEN (default CONSUL_HTTP_TOKEN)"},
		"consul_token_file":  {Text: "file with the ACL token, read again when it changes (default CONSUL_HTTP_TOKEN_FILE)"},
		"consul_ca_file":     {Text: "authority of Consul's certificate, in PEM (default CONSUL_CACERT, then the system's)"},
		"consul_cert_file":   {Text: "certificate to show to Consul, in PEM (default CONSUL_CLIENT_CERT)"},
		"consul_key_file":    {Text: "its key, in PEM (default CONSUL_CLIENT_KEY)"},
		"consul_server_name": {Text: "name in Consul's certificate (default CONSUL_TLS_SERVER_NAME, then the address's host)"},
		"consul_datacenter":  {Text: "datacenter whose Consul keeps the state (default that of the Consul agent)"},
		"consul_namespace":   {Text: "namespace, in Consul Enterprise (default CONSUL_NAMESPACE)"},
		"consul_partition":   {Text: "admin partition, in Consul Enterprise (default CONSUL_PARTITION)"},
		"consul_register":    {Text: "appear as a service in Consul's catalog, and find members of gossip there"},
		"consul_check_ttl":   {Text: "how long a process may be silent before its check in Consul turns critical (default 1m)"},
	}
}

// ConsulSettings are those of Consul; they count only if it is the store.
func ConsulSettings(store string, cfg consul.Config) []Validator {
	if store != ConsulStore {
		return nil
	}
	return []Validator{cfg.WithEnvironment(os.Getenv)}
}

// Store is a store that can be let go of.
type Store interface {
	coord.Store
	Close()
}

// DialStore makes the client of the store that the settings name.
func (d *Daemon) DialStore(store StoreSettings, cfg consul.Config, cluster string) (Store, error) {
	if store.Store == ConsulStore {
		client, err := consul.New(cfg.WithEnvironment(os.Getenv), cluster)
		if err != nil {
			return nil, d.settings.Explain(err)
		}
		return client, nil
	}
	client, err := embedded.NewClient(store.Address)
	if err != nil {
		return nil, d.settings.Explain(fmt.Errorf("store_address: %w", err))
	}
	return client, nil
}
