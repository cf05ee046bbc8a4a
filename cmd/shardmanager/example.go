package main

import (
	"github.com/spf13/cobra"

	"github.com/shardmanager/shardmanager/examples/kv/kvcmd"
)

// exampleCommand carries the example application in the binary, for dev.
func exampleCommand() *cobra.Command {
	c := kvcmd.Command()
	c.Use = "example-kv"
	c.Hidden = true
	return c
}
