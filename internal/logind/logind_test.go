package logind_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/logind"
	"github.com/shardmanager/shardmanager/internal/logind/logindtest"
)

func TestLogind(t *testing.T) {
	bus := logindtest.Start(t, 42*time.Second)
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", bus.Address)
	m, err := logind.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if d, err := m.MaxDelay(); err != nil || d != 42*time.Second {
		t.Errorf("longest delay %v, %v", d, err)
	}
	lock, err := m.Delay(t.Context(), "us", "because")
	if err != nil {
		t.Fatal(err)
	}
	list := bus.Delays()
	if len(list) != 1 || list[0].What != "shutdown:sleep" || list[0].Who != "us" || list[0].Why != "because" || list[0].Mode != "delay" {
		t.Fatalf("delays %+v", list)
	}
	select {
	case <-list[0].Ended:
		t.Error("the delay ended at once")
	case <-time.After(1500 * time.Millisecond): // the bus has closed its own copy by then
	}
	bus.Say("SessionNew", true) // another signal
	bus.Say("PrepareForSleep", true)
	bus.Say("PrepareForShutdown", false)
	for _, want := range []logind.Event{{Kind: logind.Sleep, Begins: true}, {Kind: logind.Shutdown}} {
		if e, err := m.Next(t.Context()); err != nil || e != want {
			t.Errorf("event %v, %v; expected %v", e, err, want)
		}
	}
	if err := lock.Close(); err != nil {
		t.Fatal(err)
	}
	<-list[0].Ended
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Next(ctx); err == nil {
		t.Error("an event out of nothing")
	}
	m.Close()
	if _, err := m.Next(t.Context()); err == nil || !strings.Contains(err.Error(), "is lost") {
		t.Errorf("after the end: %v", err)
	}
}

func TestNoBus(t *testing.T) {
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/no/such/socket")
	if _, err := logind.Connect(t.Context()); err == nil || !strings.Contains(err.Error(), "logind: system bus") {
		t.Errorf("connect: %v", err)
	}
}
