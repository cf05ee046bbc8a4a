package daemon

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

// hangEnv makes the test's own binary a daemon that does not stop, for the test of signals.
const hangEnv = "TEST_DAEMON_THAT_HANGS"

func TestMain(m *testing.M) {
	if os.Getenv(hangEnv) != "" {
		ctx, _ := UntilSignal(context.Background(), zerolog.Nop())
		_, _ = os.Stdout.WriteString("ready\n")
		<-ctx.Done()
		_, _ = os.Stdout.WriteString("stopping\n")
		select {}
	}
	goleak.VerifyTestMain(m)
}

func TestSignalsInOrder(t *testing.T) {
	hurried := make(chan struct{})
	ctx, stop := UntilSignal(t.Context(), zerolog.Nop(), func() { close(hurried) })
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
	if !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("got %v, want exit code 1", err)
	}
}
