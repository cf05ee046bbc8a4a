package consulserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// BinaryVariable names the environment variable of a Consul of one's own.
const BinaryVariable = "CONSUL_BIN"

// errNoBinary tells how to get one.
var errNoBinary = errors.New("no Consul found: run `make consul` in a checkout, which builds it, or set " + BinaryVariable + " to one of yours")

// Find looks for Consul: what CONSUL_BIN names, then `consul` in the directories given, then in PATH.
func Find(getenv func(string) string, dirs ...string) (string, error) {
	if own := getenv(BinaryVariable); own != "" {
		path, err := exec.LookPath(own)
		if err != nil {
			return "", fmt.Errorf("%s: %w", BinaryVariable, err)
		}
		return filepath.Abs(path)
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, "consul")
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return filepath.Abs(path)
		}
	}
	if path, err := exec.LookPath("consul"); err == nil {
		return filepath.Abs(path)
	}
	return "", errNoBinary
}
