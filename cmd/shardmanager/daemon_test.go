package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/shardmanager/shardmanager/internal/coord"
	"github.com/shardmanager/shardmanager/internal/coord/embedded"
)

// The store serves over its socket until its context ends, and keeps what it was given.
func TestStoreDaemon(t *testing.T) {
	dir := t.TempDir()
	socket := "unix://" + filepath.Join(dir, "store.sock")
	for round, want := range []coord.Index{1, 2} {
		ctx, cancel := context.WithCancel(t.Context())
		var log bytes.Buffer
		ended := make(chan int, 1)
		go func() { ended <- run(ctx, []string{"store", "--data-dir", dir, "--listen", socket}, &log, &log) }()
		client, err := embedded.NewClient(socket)
		if err != nil {
			t.Fatal(err)
		}
		index, err := firstWrite(client)
		if err != nil || index != want {
			t.Errorf("round %d: index %d, %v, want %d", round, index, err, want)
		}
		client.Close()
		cancel()
		if code := <-ended; code != exitOK {
			t.Errorf("round %d: exit %d: %s", round, code, &log)
		}
		if !strings.Contains(log.String(), `"message":"store started"`) || !strings.Contains(log.String(), `"message":"store stopped"`) {
			t.Errorf("round %d: log %s", round, &log)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "store.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket file was left: %v", err)
	}
}

// firstWrite tries until the store listens.
func firstWrite(client *embedded.Client) (coord.Index, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		index, err := client.Txn(ctx, []coord.Op{{Verb: coord.Set, Key: "k", Value: []byte("v")}})
		var dial *net.OpError
		if errors.As(err, &dial) && ctx.Err() == nil {
			continue
		}
		return index, err
	}
}

func TestSignalsInOrder(t *testing.T) {
	hurried := make(chan struct{})
	ctx, stop := untilSignal(t.Context(), zerolog.Nop(), func() { close(hurried) })
	defer stop()
	send := func(s syscall.Signal) {
		if err := syscall.Kill(os.Getpid(), s); err != nil {
			t.Fatal(err)
		}
	}
	send(syscall.SIGHUP) // ends nothing
	select {
	case <-hurried:
		t.Fatal("hurried before the first signal")
	default:
	}
	send(syscall.SIGTERM)
	<-ctx.Done()
	send(syscall.SIGINT)
	<-hurried
}

// The signal after the last step ends the process at once.
func TestLastSignalEndsAtOnce(t *testing.T) {
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), hangEnv+"=1")
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	stuck := time.AfterFunc(time.Minute, func() { _ = child.Process.Kill() })
	defer stuck.Stop()
	lines := bufio.NewScanner(out)
	for _, want := range []string{"ready", "stopping"} {
		if !lines.Scan() || lines.Text() != want {
			t.Fatalf("got %q, want %q", lines.Text(), want)
		}
		if err := child.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	err = child.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitFailure {
		t.Errorf("got %v, want exit code %d", err, exitFailure)
	}
}
