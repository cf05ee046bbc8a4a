package hosts

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Where `ip netns` keeps its names, and what every name of a namespace of ours begins with.
const (
	namespaces = "/run/netns"
	ours       = "sm-"
)

// client is the host that the test and the load run on, of no region; bridge the namespace of the bridge, which nobody runs in.
const (
	client = "client"
	bridge = "bridge"
)

// perKind is how many Consul servers and allocators there are, and how many servers a region has.
const perKind = 3

// nowhere is a link address that no host has: what is sent to it is lost without a word, as in a network that fails.
const nowhere = "02:00:00:00:00:ff"

// network is the hosts of a run on one bridge.
type network struct {
	run   string
	hosts []string
}

func newNetwork(run string) *network {
	n := &network{run: run, hosts: []string{client}}
	for i := range perKind {
		n.hosts = append(n.hosts, fmt.Sprintf("consul-%d", i+1), fmt.Sprintf("allocator-%d", i+1))
	}
	for i := range perKind * perKind {
		n.hosts = append(n.hosts, fmt.Sprintf("node-%d", i+1))
	}
	return n
}

// namespace is the name of a host's namespace.
func (n *network) namespace(host string) string { return ours + n.run + "-" + host }

// address of a host.
func (n *network) address(host string) string {
	return fmt.Sprintf("10.77.0.%d", slices.Index(n.hosts, host)+1)
}

// within is a command line that runs on a host.
func (n *network) within(host string, args ...string) []string {
	return append([]string{"netns", "exec", n.namespace(host)}, args...)
}

// ip runs the program.
func ip(input string, args ...string) (string, error) {
	cmd := exec.Command("ip", args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// on runs commands of ip on a host, a line each.
func (n *network) on(host string, commands ...string) error {
	_, err := ip(strings.Join(commands, "\n")+"\n", "-n", n.namespace(host), "-batch", "-")
	return err
}

// create makes the bridge and the hosts.
func (n *network) create() error {
	var add []string
	for _, host := range append([]string{bridge}, n.hosts...) {
		add = append(add, "netns add "+n.namespace(host))
	}
	if _, err := ip(strings.Join(add, "\n")+"\n", "-batch", "-"); err != nil {
		return err
	}
	if err := n.on(bridge, "link add bridge type bridge", "link set dev bridge up"); err != nil {
		return err
	}
	for _, host := range n.hosts {
		err := n.on(host,
			"link add eth0 type veth peer name to-"+host+" netns "+n.namespace(bridge),
			"address add "+n.address(host)+"/24 dev eth0", "link set dev lo up", "link set dev eth0 up")
		if err := errors.Join(err, n.on(bridge, "link set dev to-"+host+" master bridge", "link set dev to-"+host+" up")); err != nil {
			return err
		}
	}
	return nil
}

// lose makes everything vanish that some hosts send to others; what those send still arrives. Neither side is told.
func (n *network) lose(from, to []string) error {
	var failed []error
	for _, sender := range from {
		var commands []string
		for _, receiver := range to {
			if receiver != sender {
				commands = append(commands, "neighbour replace "+n.address(receiver)+" lladdr "+nowhere+" nud permanent dev eth0")
			}
		}
		failed = append(failed, n.on(sender, commands...))
	}
	return errors.Join(failed...)
}

// part makes everything vanish between some hosts and others, in both directions.
func (n *network) part(these, those []string) error {
	return errors.Join(n.lose(these, those), n.lose(those, these))
}

// isolate parts hosts from all others, and lets them reach each other.
func (n *network) isolate(these ...string) error { return n.part(these, n.others(these...)) }

// others lists the hosts that are not given.
func (n *network) others(these ...string) []string {
	return slices.DeleteFunc(slices.Clone(n.hosts), func(host string) bool { return slices.Contains(these, host) })
}

// heal makes all hosts reach all others again.
func (n *network) heal() error {
	var failed []error
	for _, host := range n.hosts {
		failed = append(failed, n.on(host, "neighbour flush dev eth0 nud permanent"))
	}
	return errors.Join(failed...)
}

// remove ends what still runs in the namespaces, which it tells, and takes them away. What a failed create left is no error.
func (n *network) remove() (running []string, err error) {
	inodes := inodesOf(n.left())
	for deadline := time.Now().Add(removePatience); ; time.Sleep(10 * time.Millisecond) {
		list := inhabitants(inodes)
		if len(list) == 0 {
			break
		}
		for pid, name := range list {
			running = append(running, name)
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
		if time.Now().After(deadline) {
			return running, fmt.Errorf("processes do not end: %v", list)
		}
	}
	for _, name := range n.left() {
		_, failed := ip("", "netns", "delete", name)
		err = errors.Join(err, failed)
	}
	if left := n.left(); len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("namespaces are left: %v", left))
	}
	slices.Sort(running)
	return slices.Compact(running), err
}

// removePatience is how long killed processes may take to end.
const removePatience = 20 * time.Second

// left lists the namespaces of this run that are there. With the last process and the name, a namespace goes, and with it its interfaces.
func (n *network) left() []string {
	entries, err := os.ReadDir(namespaces)
	if err != nil {
		return nil // no namespace was ever made here
	}
	var list []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ours+n.run+"-") {
			list = append(list, e.Name())
		}
	}
	return list
}

// inodesOf identifies namespaces by name.
func inodesOf(names []string) map[string]bool {
	inodes := map[string]bool{}
	for _, name := range names {
		if inode, err := inodeOf(filepath.Join(namespaces, name)); err == nil {
			inodes[inode] = true
		}
	}
	return inodes
}

// inodeOf identifies a namespace.
func inodeOf(path string) (string, error) {
	var status syscall.Stat_t
	if err := syscall.Stat(path, &status); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d:%d", status.Dev, status.Ino), nil
}

// inhabitants lists the processes in namespaces.
func inhabitants(inodes map[string]bool) map[int]string {
	list := map[int]string{}
	links, _ := filepath.Glob("/proc/[0-9]*/ns/net") // the pattern is well-formed
	for _, link := range links {
		inode, err := inodeOf(link)
		if err != nil || !inodes[inode] {
			continue
		}
		process := filepath.Dir(filepath.Dir(link))
		pid, _ := strconv.Atoi(filepath.Base(process)) // the pattern says digits
		name, _ := os.ReadFile(filepath.Join(process, "comm"))
		list[pid] = fmt.Sprintf("%s (pid %d)", strings.TrimSpace(string(name)), pid)
	}
	return list
}
