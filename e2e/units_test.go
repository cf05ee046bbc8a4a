package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/dev/ports"
)

// unitFiles is where the units are, and their settings.
const unitFiles = "../deploy/systemd"

// host is a host of systemd's: its units as they are shipped, but for the paths, which lead below a directory of the test's own.
type host struct {
	t     *testing.T
	dir   string // short enough for sockets
	paths *strings.Replacer
	env   []string
}

func newHost(t *testing.T, program string, env ...string) *host {
	t.Helper()
	dir, err := os.MkdirTemp("", "unit")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	h := &host{t: t, dir: dir, env: env, paths: strings.NewReplacer(
		"/usr/local/bin/shardmanager", program, "/etc/shardmanager", filepath.Join(dir, "etc"), "/run/shardmanager", filepath.Join(dir, "run"), "/var/lib/shardmanager", filepath.Join(dir, "lib"))}
	if err := os.MkdirAll(filepath.Join(dir, "etc", "apps"), 0o700); err != nil {
		t.Fatal(err)
	}
	return h
}

// configure writes a shipped file of settings with values of its own.
func (h *host) configure(file string, values ...string) {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join(unitFiles, file))
	if err != nil {
		h.t.Fatal(err)
	}
	lines := strings.Split(h.paths.Replace(string(text)), "\n")
next:
	for _, value := range values {
		key, _, _ := strings.Cut(value, ":")
		for i, line := range lines {
			if strings.HasPrefix(line, key+":") {
				lines[i] = value
				continue next
			}
		}
		lines = append(lines, value)
	}
	h.write(filepath.Join("etc", file), strings.Join(lines, "\n")+"\n")
}

func (h *host) write(name, text string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.dir, name), []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// unit is a running unit.
type unit struct {
	host     *host
	name     string
	settings map[string][]string
	env      []string
	cmd      *exec.Cmd
	ended    chan error
	log      *screen

	mu    sync.Mutex
	told  map[string]int // what systemd was told, and how often
	ready chan struct{}
}

// start starts a unit and waits until it says that it is ready. instance is that of a template.
func (h *host) start(file, instance string) *unit {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join(unitFiles, file))
	if err != nil {
		h.t.Fatal(err)
	}
	u := &unit{host: h, name: file + instance, settings: map[string][]string{}, ended: make(chan error, 1), log: new(screen), told: map[string]int{}, ready: make(chan struct{})}
	for line := range strings.Lines(strings.ReplaceAll(h.paths.Replace(string(text)), "%i", instance)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			u.settings[key] = append(u.settings[key], value)
		}
	}
	u.env = append(os.Environ(), h.env...)
	for _, file := range u.settings["EnvironmentFile"] {
		variables, err := os.ReadFile(file)
		if err != nil {
			h.t.Fatal(err)
		}
		u.env = append(u.env, strings.Split(strings.TrimSpace(string(variables)), "\n")...)
	}
	socket := filepath.Join(h.dir, strings.ReplaceAll(u.name, "@", "")+".n")
	_ = os.Remove(socket)
	systemd, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		h.t.Fatal(err)
	}
	go u.listen(systemd)
	u.cmd = u.command(h.t.Context(), u.settings["ExecStart"][0])
	u.cmd.Cancel = nil
	u.cmd.Env = append(u.cmd.Env, "NOTIFY_SOCKET="+socket, "WATCHDOG_USEC=400000")
	if err := u.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	go func() { u.ended <- u.cmd.Wait() }()
	h.t.Cleanup(func() {
		_ = u.cmd.Process.Kill() // it may have ended
		_ = systemd.Close()
		if h.t.Failed() {
			h.t.Logf("%s: %s", u.name, u.log)
		}
	})
	select {
	case <-u.ready:
	case <-time.After(time.Minute):
		h.t.Fatalf("%s is not ready", u.name)
	}
	return u
}

func (u *unit) listen(systemd *net.UnixConn) {
	text := make([]byte, 200)
	for {
		n, err := systemd.Read(text)
		if err != nil {
			return
		}
		u.mu.Lock()
		said := string(text[:n])
		if u.told[said]++; said == "READY=1" && u.told[said] == 1 {
			close(u.ready)
		}
		u.mu.Unlock()
	}
}

func (u *unit) heard(said string) int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.told[said]
}

var braced = regexp.MustCompile(`\$\{(\w+)\}`)

// command is a command line of the unit's, as systemd makes it: ${NAME} within a word, and a $NAME of its own for words.
func (u *unit) command(ctx context.Context, line string) *exec.Cmd {
	variable := func(name string) (value string) {
		for _, v := range u.env {
			if rest, ok := strings.CutPrefix(v, name+"="); ok {
				value = rest
			}
		}
		return value
	}
	var words []string
	for _, word := range strings.Fields(strings.TrimPrefix(line, "-")) {
		if name, ok := strings.CutPrefix(word, "$"); ok && !strings.HasPrefix(name, "{") {
			words = append(words, strings.Fields(variable(name))...)
			continue
		}
		words = append(words, braced.ReplaceAllStringFunc(word, func(s string) string { return variable(s[2 : len(s)-1]) }))
	}
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append([]string{}, u.env...), u.log, u.log
	return cmd
}

// within is a time of the unit's, in seconds.
func (u *unit) within(key string) time.Duration {
	u.host.t.Helper()
	seconds, err := strconv.Atoi(u.settings[key][0])
	if err != nil {
		u.host.t.Fatal(err)
	}
	return time.Duration(seconds) * time.Second
}

// run runs one of its other commands to the end.
func (u *unit) run(key string, within time.Duration) error {
	var failed error
	for _, line := range u.settings[key] {
		ctx, cancel := context.WithTimeout(u.host.t.Context(), within)
		failed = errors.Join(failed, u.command(ctx, line).Run())
		cancel()
	}
	return failed
}

// stop does what `systemctl stop` does: ExecStop, then SIGTERM, each within TimeoutStopSec. It returns what ExecStop returned.
func (u *unit) stop() error {
	u.host.t.Helper()
	limit := u.within("TimeoutStopSec")
	begun := time.Now()
	stopped := u.run("ExecStop", limit)
	if took := time.Since(begun); took >= limit {
		u.host.t.Errorf("%s: ExecStop took %v, longer than TimeoutStopSec", u.name, took)
	}
	if err := u.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		u.host.t.Fatal(err)
	}
	select {
	case err := <-u.ended:
		if err != nil {
			u.host.t.Errorf("%s: %v", u.name, err)
		}
	case <-time.After(limit):
		u.host.t.Errorf("%s does not end within TimeoutStopSec", u.name)
	}
	if u.heard("STOPPING=1") == 0 {
		u.host.t.Errorf("%s does not say that it stops", u.name)
	}
	return stopped
}

// The units as they are shipped, with their settings: three hosts with two applications each, one of them by the template. Applications restart, an
// agent is reloaded, a host is stopped: by the very commands of the units, none of them longer than its unit allows, and no request fails.
func TestUnits(t *testing.T) {
	t.Parallel()
	f := newUnitFleet(t, nil)
	kv, mail, agents := f.kv, f.orders, f.agents

	f.watched(kv[0], mail[0], agents[0])
	f.tells(f.admin, `shardmanager_allocator_leader 1`, `shardmanager_allocator_servers{state="attached"} 6`, `shardmanager_allocator_unavailable_shards 0`,
		`shardmanager_allocator_moves_total{app="kv",reason="place",result="done"}`, `shardmanager_store_request_duration_seconds_count{operation="txn",result="ok"}`)
	f.tells(f.admins[0], `shardmanager_store_takes_writes 1`)
	f.tells(f.admins[1], `shardmanager_agent_attached{app="kv"} 1`, `shardmanager_agent_server_state{app="orders",state="live"} 1`,
		`shardmanager_agent_callback_duration_seconds_count{app="kv",callback="add_shard",outcome="ok"}`, `shardmanager_agent_lease_margin_seconds_count{app="kv"}`)
	if err := agents[0].run("ExecReload", time.Minute); err != nil {
		t.Errorf("reload: %v", err)
	}
	f.watched(agents[0])
	for _, u := range []*unit{kv[0], mail[1]} {
		if err := u.stop(); err != nil {
			t.Errorf("%s: ExecStop: %v", u.name, err)
		}
	}
	kv[0] = f.hosts[0].start("kv.service", "")
	f.attached("kv", unitHosts)
	mail[1] = f.hosts[1].start("shardmanager-app@.service", "orders")
	f.attached("orders", unitHosts)

	// The host goes down: the agent is stopped first. Its ExecStop drains; those of the applications find no agent any more, which is forgiven.
	if err := agents[1].stop(); err != nil {
		t.Errorf("agent: ExecStop: %v", err)
	}
	for _, u := range []*unit{kv[1], mail[1]} {
		if !strings.HasPrefix(u.settings["ExecStop"][0], "-") {
			t.Errorf("%s: its ExecStop may not fail: %s", u.name, u.settings["ExecStop"][0])
		}
		if err := u.stop(); err == nil {
			t.Errorf("%s: its ExecStop finds an agent", u.name)
		}
	}
	f.end()
}

// addresses hands out addresses until the end of the test.
func addresses(t *testing.T) func() string {
	free := ports.New()
	t.Cleanup(func() { _ = free.Release() })
	return func() string {
		t.Helper()
		address, err := free.Take(0)
		if err != nil {
			t.Fatal(err)
		}
		return address
	}
}

// unitHosts is how many hosts there are: one more than an app of the units has replicas, so that one can be drained.
const unitHosts = 3

// unitFleet is hosts under load.
type unitFleet struct {
	t            *testing.T
	hosts        []*host
	admin, serve string
	admins       []string // of the store, then of the agents
	store, alloc *unit
	kv, orders   []*unit
	agents       []*unit
	loads        map[string]*exec.Cmd
	lines        map[string]*screen
}

func newUnitFleet(t *testing.T, env []string) *unitFleet {
	t.Helper()
	f := &unitFleet{t: t, loads: map[string]*exec.Cmd{}, lines: map[string]*screen{}}
	address := addresses(t)
	store, admin, serve := address(), address(), address()
	f.admin, f.serve = admin, serve
	program := linked(t)
	for i := range unitHosts {
		h := newHost(t, program, env...)
		f.hosts = append(f.hosts, h)
		if i == 0 {
			f.admins = append(f.admins, address())
			h.configure("store.yaml", "listen: "+store, "admin_listen: "+f.admins[0])
			h.configure("allocator.yaml", "listen: "+serve, "advertise: "+serve, "admin_listen: "+admin, "admin_advertise: "+admin, "store: embedded", "store_address: "+store)
			f.store = h.start("shardmanager-store.service", "")
			f.alloc = h.start("shardmanager-allocator.service", "")
		}
		listen := address()
		f.admins = append(f.admins, address())
		h.configure("agent.yaml", fmt.Sprintf("name: host-%d", i+1), "listen: "+listen, "admin_listen: "+f.admins[i+1], "advertise: "+listen, fmt.Sprintf("zone: eu-%d", i+1), "store: embedded", "store_address: "+store)
		h.write("etc/kv.env", "LISTEN="+address()+"\n")
		h.write("etc/apps/orders.env", "LISTEN="+address()+"\nOPTIONS=--app-version v7 --log-level debug\n")
		f.kv = append(f.kv, h.start("kv.service", ""))
		f.orders = append(f.orders, h.start("shardmanager-app@.service", "orders"))
		f.agents = append(f.agents, h.start("shardmanager-agent.service", ""))
	}
	spec, err := os.ReadFile(filepath.Join(unitFiles, "app.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, app := range []string{"kv", "orders"} {
		file := filepath.Join(t.TempDir(), "app.yaml")
		if err := os.WriteFile(file, []byte(strings.Replace(string(spec), "name: kv", "name: "+app, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), binary, "app", "create", "-f", file, "--admin", admin).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		f.attached(app, unitHosts)
		f.lines[app] = new(screen)
		load := exec.Command(binary, "example-kv", "load", "--app", app, "--rate", "50", "--keys", "300", "--deadline", deadline, "--allocators", serve)
		load.Stdout, load.Stderr = f.lines[app], f.lines[app]
		if err := load.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = load.Process.Kill() }) // it may have ended
		f.loads[app] = load
		eventually(t, patience, "load", func() bool { return strings.Contains(f.lines[app].String(), "\n") })
	}
	return f
}

// attached waits until so many servers of an app share its shards, and nothing is left to do.
func (f *unitFleet) attached(app string, servers int) {
	f.t.Helper()
	if !eventually(f.t, patience, app+" to be served", func() bool {
		out, err := exec.CommandContext(f.t.Context(), binary, "servers", "--app", app, "--admin", f.admin).Output()
		serving := 0
		for line := range strings.Lines(string(out)) {
			if cells := strings.Fields(line); len(cells) > 5 && cells[1] == "attached" && cells[2] != "0" && cells[3] != "0" && cells[4] == "0" {
				serving++
			}
		}
		return err == nil && serving == servers
	}) {
		f.t.FailNow()
	}
}

// tells looks at what a daemon tells machines: it lives, it is ready, and these metrics are among its own.
func (f *unitFleet) tells(admin string, metrics ...string) {
	f.t.Helper()
	get := func(path string) string {
		req, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, "http://"+admin+path, nil)
		if err != nil {
			f.t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err.Error()
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			return fmt.Sprintf("%s %v: %s", resp.Status, err, body)
		}
		return string(body)
	}
	for _, path := range []string{"/livez", "/readyz"} {
		if said := ""; !eventually(f.t, patience, admin+path, func() bool { said = get(path); return said == "ok\n" }) {
			f.t.Errorf("%s%s: %s", admin, path, said)
		}
	}
	told := get("/metrics")
	for _, metric := range append(metrics, `shardmanager_build_info{`, "process_resident_memory_bytes") {
		if !strings.Contains(told, "\n"+metric) {
			f.t.Errorf("%s does not tell %s:\n%s", admin, metric, told)
		}
	}
}

// watched waits until the watchdogs of units have been told again.
func (f *unitFleet) watched(units ...*unit) {
	f.t.Helper()
	for _, u := range units {
		before := u.heard("WATCHDOG=1")
		eventually(f.t, time.Minute, u.name+" to tell its watchdog", func() bool { return u.heard("WATCHDOG=1") > before+1 })
	}
}

// end ends the load and everything else, and fails the test if a request failed.
func (f *unitFleet) end() {
	f.t.Helper()
	for app, load := range f.loads {
		if err := errors.Join(load.Process.Signal(os.Interrupt), load.Wait()); err != nil {
			f.t.Errorf("load of %s: %v", app, err)
		}
		text := strings.TrimSpace(f.lines[app].String())
		last := text[strings.LastIndexByte(text, '\n')+1:]
		if !strings.Contains(last, `"final":true`) || !strings.Contains(last, `"failed":0,`) || !strings.Contains(last, `"lost_writes":0,`) {
			f.t.Errorf("load of %s: %s", app, last)
		}
	}
	for _, u := range []*unit{f.alloc, f.store} {
		f.watched(u)
		if err := u.stop(); err != nil {
			f.t.Errorf("%s: %v", u.name, err)
		}
	}
}
