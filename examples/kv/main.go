// Command kv is an example of an application on Shard Manager; see README.md.
package main

import (
	"os"

	"github.com/shardmanager/shardmanager/examples/kv/kvcmd"
)

func main() {
	if err := kvcmd.Command().Execute(); err != nil {
		os.Exit(1)
	}
}
