package e2e

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/shardmanager/shardmanager/proto/shardmanager/v1/shardmanagerv1connect"
)

// browsers are the names under which a Chromium may be installed.
var browsers = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"}

// stepPatience bounds one step; a busy machine starts a browser slowly.
const stepPatience = time.Minute

// lookEvery is how often the page is looked at while something is waited for.
const lookEvery = 20 * time.Millisecond

// tab is one page of a browser that nobody sees, and what it complained of and asked for.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu       sync.Mutex
	problems []string
	asked    []string // addresses
}

// openTab starts a browser; the test is skipped where there is none.
func openTab(t *testing.T) *tab {
	t.Helper()
	binary := ""
	for _, name := range browsers {
		if path, err := exec.LookPath(name); err == nil {
			binary = path
			break
		}
	}
	if binary == "" {
		t.Skipf("no browser: install one of %s", strings.Join(browsers, ", "))
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(binary), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("lang", "en-GB"), chromedp.WindowSize(1360, 850), chromedp.UserDataDir(t.TempDir()),
		chromedp.WSURLReadTimeout(stepPatience))
	allocated, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, closeTab := chromedp.NewContext(allocated)
	t.Cleanup(closeTab)
	b := &tab{t: t, ctx: ctx}
	if _, err := chromedp.Run(ctx, chromedp.Func(b.listen)); err != nil {
		t.Fatalf("start %s: %v", binary, err)
	}
	return b
}

// listen notes what goes wrong in the page, and whom it asks, until the tab is closed.
func (b *tab) listen(ctx context.Context, target *chromedp.Target) error {
	go note(b, cdp.Events(b.ctx, target, network.RequestWillBeSent), func(e network.EventRequestWillBeSent) {
		b.asked = append(b.asked, e.Request.URL)
	})
	go note(b, cdp.Events(b.ctx, target, runtime.ExceptionThrown), func(e runtime.EventExceptionThrown) {
		b.problems = append(b.problems, fmt.Sprintf("exception: %+v", e.ExceptionDetails))
	})
	go note(b, cdp.Events(b.ctx, target, runtime.ConsoleAPICalled), func(e runtime.EventConsoleAPICalled) {
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			b.problems = append(b.problems, fmt.Sprintf("console: %+v", e.Args))
		}
	})
	go note(b, cdp.Events(b.ctx, target, log.EntryAdded), func(e log.EventEntryAdded) {
		refusal := strings.Contains(e.Entry.URL, shardmanagerv1connect.AdminServiceName) // is an answer, which the page shows
		if e.Entry.Level == log.EntryLevelError && !refusal {
			b.problems = append(b.problems, "log: "+e.Entry.Text+" "+e.Entry.URL)
		}
	})
	_, networkErr := cdp.Call(ctx, target, network.Enable, network.EnableParams{})
	_, runtimeErr := cdp.Call(ctx, target, runtime.Enable, cdp.Empty{})
	_, logErr := cdp.Call(ctx, target, log.Enable, cdp.Empty{})
	return errors.Join(networkErr, runtimeErr, logErr)
}

// note hands events on, one at a time.
func note[E any](b *tab, events iter.Seq2[E, error], take func(E)) {
	for e, err := range events {
		b.mu.Lock()
		switch {
		case err == nil:
			take(e)
		case b.ctx.Err() == nil:
			b.problems = append(b.problems, "an event of the browser: "+err.Error())
		}
		b.mu.Unlock()
	}
}

// step takes a step in the browser, within the patience for one.
func step[T any](b *tab, what string, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, stepPatience)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		after, stop := context.WithTimeout(b.ctx, 5*time.Second)
		defer stop()
		body, _ := chromedp.Run(after, chromedp.Evaluate[string](`document.body.innerText`))
		b.t.Fatalf("%s: %v; the browser complains: %q; the page says:\n%s", what, err, b.complaints(), body)
	}
	return v
}

// do takes steps without values, in order.
func (b *tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	step(b, what, chromedp.Steps(steps...))
}

// until waits until an expression is true in the page; one that cannot be evaluated is not true yet, as while another page is loaded.
func (b *tab) until(what, expression string) {
	b.t.Helper()
	b.do(what, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		for {
			met, err := chromedp.Evaluate[bool](expression)(ctx, target)
			if met && err == nil {
				return nil
			}
			select {
			case <-ctx.Done():
				return errors.Join(ctx.Err(), err)
			case <-time.After(lookEvery):
			}
		}
	}))
}

// value evaluates an expression.
func value[T any](b *tab, expression string) T {
	b.t.Helper()
	return step(b, expression, chromedp.Evaluate[T](expression))
}

// colours makes the browser wish for light or dark.
func (b *tab) colours(scheme string) {
	b.t.Helper()
	b.do("wish for "+scheme, chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		return err
	}))
}

func (b *tab) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.problems...)
}

// strangers are the addresses that were asked and are not of one of the hosts.
func (b *tab) strangers(hosts ...string) (found []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := map[string]bool{}
	for _, h := range hosts {
		known[h] = true
	}
	for _, address := range b.asked {
		u, err := url.Parse(address)
		if err != nil || u.Scheme != "data" && !known[u.Host] {
			found = append(found, address)
		}
	}
	return found
}
