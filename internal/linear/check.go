package linear

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/shardmanager/shardmanager/internal/shard"
)

// ErrNoData says that there was nothing to judge: no acknowledged increment, or no read that was answered.
var ErrNoData = errors.New("no data to judge")

// Verdict is what a history says.
type Verdict struct {
	// Illegal lists the keys whose answers no order of the operations explains.
	Illegal []string
	// Pictures are pages, to be opened in a browser, that show the operations of the first of these keys, and how far an order explains them.
	Pictures []string
}

// Check judges a history. Each key is given so much time; a key that takes longer is an error, as is a history of nothing. Pictures of what
// is illegal are written to a directory.
func (h *History) Check(within time.Duration, pictures string) (Verdict, error) {
	var v Verdict
	if c := h.Count(); c.Increments == 0 || c.Reads == 0 {
		return v, fmt.Errorf("check: %d reads, %d increments: %w", c.Reads, c.Increments, ErrNoData)
	}
	keys := h.byKey()
	for _, key := range shard.SortedKeys(keys) {
		result, info := porcupine.CheckOperationsVerbose(model(), events(keys[key]), within)
		switch result {
		case porcupine.Ok:
		case porcupine.Unknown:
			return v, fmt.Errorf("check: key %s: %d operations took more than %v", key, len(keys[key]), within)
		case porcupine.Illegal:
			v.Illegal = append(v.Illegal, key)
			path, err := picture(info, pictures, key)
			if err != nil {
				return v, fmt.Errorf("check: key %s: it is not linearizable, and there is no picture of it: %w", key, err)
			}
			if path != "" {
				v.Pictures = append(v.Pictures, path)
			}
		}
	}
	return v, nil
}

// maxPictures bounds what a broken service leaves: a picture is megabytes.
const maxPictures = 8

// picture writes what porcupine shows; empty: there are enough already.
func picture(info porcupine.LinearizationInfo, dir, key string) (string, error) {
	path := filepath.Join(dir, "history-"+strings.Map(plain, key)+".html")
	if others, err := filepath.Glob(filepath.Join(dir, "history-*.html")); err != nil || len(others) >= maxPictures {
		return "", err
	}
	file, err := os.Create(path)
	if err != nil {
		return "", err
	}
	return path, errors.Join(porcupine.Visualize(model(), info, file), file.Close())
}

// plain makes a key part of a file's name.
func plain(r rune) rune {
	if strings.ContainsRune(`/\:`, r) {
		return '_'
	}
	return r
}

// input and output of the model's steps.
type (
	input  struct{ kind Kind }
	output struct {
		value int64
		known bool
	}
)

// model is one counter.
func model() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return int64(0) },
		Step: func(state, in, out any) (bool, any) { return step(state.(int64), in.(input), out.(output)) },
		DescribeOperation: func(in, out any) string {
			name, o := "read", out.(output)
			if in.(input).kind == Increment {
				name = "increment"
			}
			if !o.known {
				return name + " → ?"
			}
			return fmt.Sprintf("%s → %d", name, o.value)
		},
		DescribeState: func(state any) string { return fmt.Sprint(state) },
	}
}

// step says whether an answer is right, and what the counter is then.
func step(state int64, in input, out output) (ok bool, next int64) {
	if in.kind == Increment {
		state++
	}
	return !out.known || out.value == state, state
}

// events are operations as porcupine takes them.
func events(list []Operation) []porcupine.Operation {
	result := make([]porcupine.Operation, len(list))
	for i, o := range list {
		result[i] = porcupine.Operation{
			ClientId: o.Client, Input: input{o.Kind}, Output: output{value: o.Value, known: o.Outcome == Done}, Call: o.Call, Return: o.Return,
		}
	}
	return result
}
