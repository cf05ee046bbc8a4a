package hosts

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A run that is cut short leaves nothing: neither by Ctrl-C, nor if the inner process, which runs the tests, is killed.
func TestARunCutShortLeavesNothing(t *testing.T) {
	need(t)
	long(t)
	for name, end := range map[string]func(outer *os.Process, inner int) error{
		"Ctrl-C":          func(outer *os.Process, _ int) error { return outer.Signal(os.Interrupt) },
		"the tests ended": func(_ *os.Process, inner int) error { return syscall.Kill(inner, syscall.SIGKILL) },
	} {
		t.Run(name, func(t *testing.T) {
			other := newNetwork(fmt.Sprintf("%08x", rand.Uint32()))
			cmd := exec.Command(os.Args[0], "-test.run", "^TestFaults$")
			cmd.Env = append(os.Environ(), idVariable+"="+other.run, runVariable+"=", everything+"=")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			var out strings.Builder
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			var inodes map[string]bool
			for deadline := time.Now().Add(patience); ; time.Sleep(poll) { // there is nothing to wait on but /proc
				if inodes = inodesOf(other.left()); len(inhabitants(inodes)) > 2*perKind*perKind {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("it does not start: %v\n%s", inhabitants(inodes), out.String())
				}
			}
			if err := end(cmd.Process, playerOf(other)); err != nil {
				t.Fatal(err)
			}
			select {
			case err := <-ended:
				if err == nil {
					t.Error("a run that was cut short passed")
				}
			case <-time.After(patience):
				t.Fatal("it does not end")
			}
			if left := other.left(); len(left) > 0 {
				t.Errorf("namespaces are left: %v\n%s", left, out.String())
			}
			if list := inhabitants(inodes); len(list) > 0 {
				t.Errorf("processes are left: %v\n%s", list, out.String())
			}
		})
	}
}

// playerOf is the inner process of a run: this program, on the client's host.
func playerOf(n *network) int {
	for pid := range inhabitants(inodesOf([]string{n.namespace(client)})) {
		self, _ := os.Readlink("/proc/self/exe")
		if other, err := os.Readlink(filepath.Join("/proc", fmt.Sprint(pid), "exe")); err == nil && other == self {
			return pid
		}
	}
	return 0
}
