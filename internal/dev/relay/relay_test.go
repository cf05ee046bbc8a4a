package relay

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// asCaller makes the test's binary call an address and pass words between its standard streams and there: another process.
const asCaller = "RELAY_TEST_CALL"

func TestMain(m *testing.M) {
	if address := os.Getenv(asCaller); address != "" {
		os.Exit(call(address))
	}
	goleak.VerifyTestMain(m)
}

func call(address string) int {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return 1
	}
	go func() { _, _ = io.Copy(conn, os.Stdin) }()
	_, _ = io.Copy(os.Stdout, conn)
	return 0
}

// echo serves an echo on a free port.
func echo(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
	return listener.Addr().String()
}

// start makes a relay before an echo; this process is known to it as "self".
func start(t *testing.T) (*Relay, string) {
	t.Helper()
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := probe.Addr().String()
	if err := probe.Close(); err != nil {
		t.Fatal(err)
	}
	r := New(Config{Delay: delay, Processes: func() map[string]int { return map[string]int{"nobody": 0, "self": os.Getpid()} }})
	t.Cleanup(r.Close)
	if err := r.Forward(address, echo(t)); err != nil {
		t.Fatal(err)
	}
	return r, address
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// said writes a word and reads it back, within a time.
func said(conn net.Conn, word string, within time.Duration) error {
	if err := conn.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	if _, err := io.WriteString(conn, word); err != nil {
		return err
	}
	return heard(conn, word)
}

func heard(conn net.Conn, word string) error {
	answer := make([]byte, len(word))
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	if string(answer) != word {
		return fmt.Errorf("heard %q, expected %q", answer, word)
	}
	return nil
}

// Times of the tests: what has to come has long, what must not come is waited for shortly.
const (
	long    = 20 * time.Second
	shortly = 100 * time.Millisecond
	delay   = 150 * time.Millisecond
)

func TestSilenceLosesNothingAndHeals(t *testing.T) {
	r, address := start(t)
	conn := dial(t, address)
	if err := said(conn, "before", long); err != nil {
		t.Fatal(err)
	}
	r.Set("self", Silent)
	if err := said(conn, "meanwhile", shortly); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("while silenced: %v, expected silence", err)
	}
	late := dial(t, address)
	if err := said(late, "late", shortly); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a new connection while silenced: %v, expected silence", err)
	}
	r.Set("self", Healthy)
	for c, word := range map[net.Conn]string{conn: "meanwhile", late: "late"} {
		if err := c.SetDeadline(time.Now().Add(long)); err != nil {
			t.Fatal(err)
		}
		if err := heard(c, word); err != nil {
			t.Errorf("after healing: %v", err)
		}
	}
}

func TestRefusalResetsOldAndNewConnections(t *testing.T) {
	r, address := start(t)
	conn := dial(t, address)
	if err := said(conn, "before", long); err != nil {
		t.Fatal(err)
	}
	r.Set("self", Refused)
	for name, ask := range map[string]func() error{
		"old": func() error { return said(conn, "meanwhile", long) },
		"new": func() error { // it may be reset before it is there
			c, err := net.Dial("tcp", address)
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }()
			return said(c, "meanwhile", long)
		},
	} {
		err := ask()
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) && !errors.Is(err, io.EOF) {
			t.Errorf("%s connection: %v, expected a reset", name, err)
		}
	}
	r.Set("self", Healthy)
	if err := said(dial(t, address), "after", long); err != nil {
		t.Errorf("after healing: %v", err)
	}
}

func TestWhatIsSlowArrivesLateBothWays(t *testing.T) {
	r, address := start(t)
	conn := dial(t, address)
	if err := said(conn, "before", long); err != nil {
		t.Fatal(err)
	}
	r.Set("self", Slow)
	for range 2 {
		began := time.Now()
		if err := said(conn, "meanwhile", long); err != nil || time.Since(began) < 2*delay {
			t.Errorf("%v after %s, expected an answer after %s at least", err, time.Since(began), 2*delay)
		}
	}
	r.Set("self", Silent)
	if err := said(conn, "later", shortly); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("while silenced: %v, expected silence", err)
	}
	r.Set("self", Slow)
	if err := errors.Join(conn.SetDeadline(time.Now().Add(long)), heard(conn, "later")); err != nil {
		t.Error(err)
	}
}

func TestOthersGetThrough(t *testing.T) {
	r, address := start(t)
	r.Set("self", Silent)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := exec.Command(self)
	other.Env = append(os.Environ(), asCaller+"="+address)
	in, inErr := other.StdinPipe()
	out, outErr := other.StdoutPipe()
	if err := errors.Join(inErr, outErr, other.Start()); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(in, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "hello\n" {
		t.Errorf("another process heard %q, %v", line, err)
	}
	r.Close() // ends its connection
	if err := other.Wait(); err != nil {
		t.Error(err)
	}
}

func TestACloseEndsBothSides(t *testing.T) {
	r, address := start(t)
	conn := dial(t, address)
	if err := said(conn, "word", long); err != nil {
		t.Fatal(err)
	}
	r.Close()
	if err := conn.SetDeadline(time.Now().Add(long)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("after the relay closed: %v", err)
	}
	if err := r.Forward("127.0.0.1:0", address); err == nil {
		t.Error("a closed relay forwards")
	}
}

// The kernel, asked for one socket, says what its table says, and knows no socket that there is not.
func TestTheKernelKnowsSockets(t *testing.T) {
	conn := dial(t, echo(t))
	local, remote := addrPort(conn.LocalAddr()), addrPort(conn.RemoteAddr())
	table, err := os.ReadFile("/proc/self/net/tcp")
	if err != nil {
		t.Fatal(err)
	}
	want, found := inodeOf(table, local, remote)
	got, err := askInode(local, remote)
	if err != nil && !errors.Is(err, errUnknownSocket) {
		t.Skipf("this kernel cannot be asked: %v", err)
	}
	if !found || got != want || err != nil || !holds(os.Getpid(), got) {
		t.Errorf("socket %d, %v, expected %d", got, err, want)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := askInode(netip.AddrPortFrom(local.Addr(), 1), remote); err == nil {
		t.Errorf("a connection that there is not has socket %d", got)
	}
}

func TestInodeOf(t *testing.T) {
	const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1D10 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0 0 10 0
   1: 0100007F:8001 0100007F:1D10 01 00000000:00000000 00:00000000 00000000     0        0 222 1 0 20 4 30 10 -1
   2: 0100007F:1D10 0100007F:8001 01 00000000:00000000 00:00000000 00000000     0        0 333 1 0 20 4 30 10 -1
   3: 0100007F:8002 0100007F:1D10 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0
`
	at := netip.MustParseAddrPort
	for _, c := range []struct {
		local, remote string
		inode         uint64
	}{
		{"127.0.0.1:32769", "127.0.0.1:7440", 222},
		{"127.0.0.1:7440", "127.0.0.1:32769", 333},
		{"127.0.0.1:32770", "127.0.0.1:7440", 0}, // closed
		{"127.0.0.1:32771", "127.0.0.1:7440", 0}, // unknown
	} {
		inode, found := inodeOf([]byte(table), at(c.local), at(c.remote))
		if inode != c.inode || found != (c.inode != 0) {
			t.Errorf("%s to %s: %d, %v, expected %d", c.local, c.remote, inode, found, c.inode)
		}
	}
}
