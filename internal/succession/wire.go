package succession

import (
	"bufio"
	"encoding/json"
	"io"
	"strings"
	"sync"
)

// trialVariable says to a child that it is on trial. It is none of the settings' variables.
const trialVariable = "SHARD_MANAGER_ON_TRIAL"

// File descriptors of a child on trial.
const (
	ordersFD  = 3
	reportsFD = 4
)

// Order tells a child to take the daemon's place: how much it has to do before it counts as resumed. What the numbers count is the caller's.
type Order struct {
	Live     int `json:"live"`
	Attached int `json:"attached"`
}

// step is how far a child is.
type step string

const (
	stepPrepared step = "prepared"
	stepResumed  step = "resumed"
	stepRests    step = "rests"
)

// report is a line from the child.
type report struct {
	Step    step   `json:"step"`
	Version string `json:"version,omitempty"` // of stepPrepared
}

// order is a line from the daemon.
type order struct {
	Take *Order `json:"take,omitempty"`
	Stop bool   `json:"stop,omitempty"`
}

// maxLine is the longest line; a longer one is taken for a program that is no child of ours.
const maxLine = 4096

func write(w io.Writer, v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

// lines reads lines of one kind until the other end closes, or sends something else.
func lines[T any](r io.Reader) <-chan T {
	c := make(chan T)
	go func() {
		defer close(c)
		scanner := bufio.NewScanner(r)
		scanner.Buffer(make([]byte, maxLine), maxLine)
		for scanner.Scan() {
			var v T
			if json.Unmarshal(scanner.Bytes(), &v) != nil {
				return
			}
			c <- v
		}
	}()
	return c
}

// tail keeps the last of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const maxTail = 600

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	t.text = t.text[max(len(t.text)-maxTail, 0):]
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.text) == 0 {
		return "it said nothing"
	}
	return "it said: " + strings.TrimSpace(string(t.text))
}
