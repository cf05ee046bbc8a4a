package hosts

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// Variables that the outer process sets for the inner one. A run of a given id is for tests of the outer process.
const (
	runVariable    = "E2E_HOSTS_RUN"    // set: this is the inner process
	idVariable     = "E2E_HOSTS_ID"     // id of the run to make; unset: any
	binaryVariable = "E2E_HOSTS_BINARY" // the program under test
)

// everything says that all faults are wanted: `make e2e` sets it, `make test` does not.
const everything = "E2E_ALL"

// missing says why there are no hosts; empty: this is the inner process, and there are.
var missing string

// hosts of this run, in the inner process.
var hosts *network

func TestMain(m *testing.M) {
	flag.Parse()
	if run := os.Getenv(runVariable); run != "" {
		hosts = newNetwork(run)
		os.Exit(m.Run())
	}
	if missing = impossible(); missing != "" || flag.Lookup("test.list").Value.String() != "" {
		os.Exit(m.Run())
	}
	status, err := outer()
	if err != nil {
		fmt.Fprintln(os.Stderr, "hosts:", err)
		status = max(status, 1)
	}
	os.Exit(status)
}

// impossible says why no hosts can be made here; empty: they can.
func impossible() string {
	if os.Geteuid() != 0 {
		return "it takes root to make network namespaces"
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return "it takes the program ip (iproute2) to make network namespaces: " + err.Error()
	}
	probe := newNetwork(fmt.Sprintf("%08x", rand.Uint32())) // of no hosts, to see whether it can be done at all
	_, err := ip("", "netns", "add", probe.namespace(bridge))
	err = errors.Join(err, probe.on(bridge, "link add bridge type bridge"))
	if _, failed := probe.remove(); failed != nil || err != nil {
		return "this machine makes no network namespaces: " + errors.Join(err, failed).Error()
	}
	return ""
}

// outer makes the hosts, runs the tests on one of them, and takes the hosts away.
func outer() (status int, err error) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT)
	dir, err := os.MkdirTemp("", "shardmanager-hosts-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	binary := os.Getenv(binaryVariable)
	if binary == "" {
		binary = filepath.Join(dir, "shardmanager")
		build := exec.Command("go", "build", "-o", binary, "../../cmd/shardmanager")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		if err := build.Run(); err != nil {
			return 1, fmt.Errorf("build: %w", err)
		}
	}
	run := os.Getenv(idVariable)
	if run == "" {
		run = fmt.Sprintf("%08x", rand.Uint32())
	}
	made := newNetwork(run)
	ended := false
	defer func() {
		running, failed := made.remove()
		if ended && len(running) > 0 {
			failed = errors.Join(failed, fmt.Errorf("the tests left processes behind: %v", running))
		}
		err = errors.Join(err, failed)
	}()
	if err := made.create(); err != nil {
		return 1, err
	}
	status, ended, err = inner(made, binary, signals)
	return status, err
}

// inner runs this program again, on the client's host, and passes signals on. ended: it was not cut short.
func inner(made *network, binary string, signals chan os.Signal) (status int, ended bool, err error) {
	self, err := os.Executable()
	if err != nil {
		return 1, false, err
	}
	runtime.LockOSThread() // the death signal comes when the thread ends
	defer runtime.UnlockOSThread()
	cmd := exec.Command("ip", made.within(client, append([]string{self}, os.Args[1:]...)...)...)
	cmd.Env = append(os.Environ(), runVariable+"="+made.run, binaryVariable+"="+binary)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 1, false, err
	}
	result := make(chan error, 1)
	go func() { result <- cmd.Wait() }()
	select {
	case err = <-result:
		ended = cmd.ProcessState.Exited()
	case s := <-signals:
		_ = cmd.Process.Signal(s) // it may have ended by the same signal
		select {
		case <-result:
		case <-time.After(removePatience):
			_ = cmd.Process.Kill()
			<-result
		}
		return 1, false, fmt.Errorf("%v", s)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 1, ended, err
	}
	return cmd.ProcessState.ExitCode(), ended && err == nil, nil
}
