// Package contexts keeps the clusters that an operator speaks to, by name, in a file, and is the verb `shardmanager context`.
//
// The file is YAML, read strictly, written whole and readable by its owner alone. Called by cmd/shardmanager, for every command that speaks to a
// cluster. It speaks to none itself.
package contexts

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/shardmanager/shardmanager/internal/config"
	"github.com/shardmanager/shardmanager/internal/suggest"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// Variables of the environment.
const (
	fileVariable = "SHARDMANAGER_CONTEXTS" // the file; not SHARDMANAGER_CONFIG, which is a daemon's
	nameVariable = "SHARDMANAGER_CONTEXT"  // the context that is used
)

// maxContexts is how many contexts a file may hold.
const maxContexts = 1000

// filePath is where the file is, or would be; empty: there is no place for one, as for services without a home.
func filePath() string {
	if path := os.Getenv(fileVariable); path != "" {
		return path
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "shardmanager", "config.yaml")
}

// read reads the file; where there is none, it holds nothing.
func read(path string) (*pb.Contexts, error) {
	file := new(pb.Contexts)
	if path == "" {
		return file, nil
	}
	contents, err := config.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return file, nil
	case err != nil:
		return nil, fmt.Errorf("contexts: %w", err)
	}
	document, err := config.ParseMessage(path, contents, config.MaxFileBytes, file, "contexts")
	if err != nil {
		return nil, err
	}
	return file, check(file, func(field string) string {
		place, ok := document.Place(field)
		if !ok { // it lacks
			place, _ = document.Place(field[:max(0, strings.LastIndexByte(field, '.'))])
		}
		return place + ": " + field
	})
}

var validName = regexp.MustCompile(`^[a-zA-Z0-9][-_.a-zA-Z0-9]{0,62}$`)

// check says all that is wrong; at words the place of a field.
func check(file *pb.Contexts, at func(field string) string) error {
	var wrong []error
	refuse := func(field, format string, args ...any) {
		wrong = append(wrong, fmt.Errorf("%s: %s", at(field), fmt.Sprintf(format, args...)))
	}
	if n := len(file.GetContexts()); n > maxContexts {
		refuse("contexts", "expected at most %d, not %d", maxContexts, n)
	}
	seen := map[string]bool{}
	for i, c := range file.GetContexts() {
		field := func(name string) string { return fmt.Sprintf("contexts[%d].%s", i, name) }
		switch name := c.GetName(); {
		case !validName.MatchString(name):
			refuse(field("name"), "expected 1 to 63 of letters, digits, -, _ and ., beginning with a letter or a digit, not %q", name)
		case seen[name]:
			refuse(field("name"), "%s: there is another one of this name", name)
		}
		seen[c.GetName()] = true
		for k, address := range c.GetAdmin() {
			if _, _, err := net.SplitHostPort(strings.TrimPrefix(address, "http://")); err != nil && !strings.HasPrefix(address, "unix://") {
				refuse(fmt.Sprintf("%s[%d]", field("admin"), k), "expected host:port, not %q", address)
			}
		}
		if s := c.GetSocket(); s != "" && !strings.HasPrefix(s, "unix:///") {
			refuse(field("socket"), "expected unix:///path, not %q", s)
		}
	}
	if current := file.GetCurrent(); current != "" && !seen[current] {
		refuse("current", "there is no context %s%s", current, suggest.Or(current, names(file)))
	}
	return errors.Join(wrong...)
}

func names(file *pb.Contexts) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, c := range file.GetContexts() {
			if !yield(c.GetName()) {
				return
			}
		}
	}
}

// find is the position of a context; the error of an unknown one names the nearest.
func find(file *pb.Contexts, path, name string) (int, error) {
	i := slices.IndexFunc(file.GetContexts(), func(c *pb.Context) bool { return c.GetName() == name })
	if i < 0 {
		return 0, fmt.Errorf("there is no context %q in %s%s", name, path, suggest.Or(name, names(file)))
	}
	return i, nil
}

// write replaces the file: after a crash it is the old one or the new one. Its comments are lost. Where the path is a link, what it leads to is replaced.
func write(path string, file *pb.Contexts) error {
	if path == "" {
		return fmt.Errorf("contexts: there is no home for a file: name one by %s", fileVariable)
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(file)
	if err != nil {
		return fmt.Errorf("contexts: %w", err)
	}
	if text, err = config.YAML(text); err != nil {
		return fmt.Errorf("contexts: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("contexts: %w", err)
	}
	if err := wire.ReplaceFile(path, text); err != nil {
		return fmt.Errorf("contexts: %w", err)
	}
	return nil
}
