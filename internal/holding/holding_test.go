package holding

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestLimits(t *testing.T) {
	a := New(2, 10)
	first, ok := a.Admit()
	second, also := a.Admit()
	if !ok || !also {
		t.Fatal("refused below the limit")
	}
	if _, ok := a.Admit(); ok {
		t.Error("a third was admitted, two are allowed")
	}
	if !first.Grow(6) || second.Grow(5) || !second.Grow(4) {
		t.Error("10 bytes are allowed in all")
	}
	first.Release()
	if count, bytes := a.Held(); count != 1 || bytes != 4 {
		t.Errorf("%d requests, %d bytes held, want 1 and 4", count, bytes)
	}
}

func TestRead(t *testing.T) {
	content := strings.Repeat("0123456789", 2000)
	for name, c := range map[string]struct {
		from   io.Reader
		length int64
		limit  int64
		want   string
		err    error
	}{
		"known length":   {strings.NewReader(content), int64(len(content)), 20_000, content, nil},
		"unknown length": {strings.NewReader(content), -1, 40_000, content, nil},
		"none":           {nil, 0, 0, "", nil},
		"too long":       {strings.NewReader(content), int64(len(content)), 19_999, "", ErrBytes},
		"grows too long": {strings.NewReader(content), -1, 20_000, "", ErrBytes},
		"breaks":         {io.MultiReader(strings.NewReader("x"), broken{}), -1, 20_000, "", errBroken},
	} {
		a := New(1, c.limit)
		ticket, _ := a.Admit()
		got, err := ticket.Read(c.from, c.length)
		if !bytes.Equal(got, []byte(c.want)) || !errors.Is(err, c.err) {
			t.Errorf("%s: %d bytes, %v; want %d, %v", name, len(got), err, len(c.want), c.err)
		}
		ticket.Release()
		if count, bytes := a.Held(); count != 0 || bytes != 0 {
			t.Errorf("%s: %d requests, %d bytes are left", name, count, bytes)
		}
	}
}

var errBroken = errors.New("broken")

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errBroken }
