package sdk

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// FuzzHeaders: whatever headers a request or an answer has, they are refused in words, or say what they would say if they were written
// again.
func FuzzHeaders(f *testing.F) {
	for _, seed := range [][6]string{
		{"1", "5/3", "any", "not-executed", "12", "1000"}, {"", "", "", "", "", ""}, {"1", "5", "none", "unknown", "-1", "x"}, {"1", "0/1", "", "", "9223372036854775807", "9223372036854775807"},
		{"a/b", "18446744073709551615/18446744073709551615", "any", "", "+5", "-5"}, {"1", "5/3/1", "", "", "9223372036855", "0"},
	} {
		f.Add(seed[0], seed[1], seed[2], seed[3], seed[4], seed[5])
	}
	f.Fuzz(func(t *testing.T, id, forward, read, outcome, staleness, timeout string) {
		header := http.Header{}
		for name, value := range map[string]string{HeaderShard: id, HeaderForward: forward, HeaderRead: read, HeaderOutcome: outcome, "Connect-Timeout-Ms": timeout} {
			header.Set(name, value)
		}
		q, problem := requestOf(header)
		if problem == "" {
			if q.shard != id || q.patience < 0 || q.patience > maxHold || q.anywhere != (read == ReadAny) {
				t.Fatalf("%+v of %v", q, header)
			}
			if back, ok := parseForward(forwardHeader(q.forward)); q.forward != (shard.Order{}) && (!ok || back != q.forward || back.Term == 0 || back.Move == 0) {
				t.Fatalf("forwarded under %s, and then under %s", q.forward, back)
			}
		}
		if o, ok := ParseOutcome(outcome); ok != (o.String() == outcome && outcome != "") {
			t.Fatalf("outcome %q is %d, %t", outcome, o, ok)
		}
		if behind, ok := StalenessOf(http.Header{HeaderRole: {RoleSecondary.String()}, HeaderStaleness: {staleness}}); ok && behind < 0 {
			t.Fatalf("%q: behind by %s", staleness, behind)
		}
	})
}

// FuzzStaleness: what a secondary states arrives, rounded up to milliseconds.
func FuzzStaleness(f *testing.F) {
	for _, d := range []int64{0, -1, 1, 1e6, 1e6 + 1, 1<<63 - 1, 1<<63 - 1000000, -1 << 63} {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, ns int64) {
		token := &Token{shard: Shard{Role: RoleSecondary, Term: 3}}
		SetStaleness(context.WithValue(t.Context(), shardKey{}, token), time.Duration(ns))
		header := http.Header{}
		token.stamp(header)
		behind, ok := StalenessOf(header)
		want := time.Duration(max(ns, 0))
		if !ok || behind < want && want-behind >= time.Millisecond || behind > want && behind-want >= time.Millisecond {
			t.Fatalf("%s was stated, %s arrived (%t): %v", want, behind, ok, header)
		}
	})
}
