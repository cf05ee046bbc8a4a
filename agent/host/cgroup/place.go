package cgroup

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// mount is a hierarchy of groups where it is visible.
type mount struct {
	root        string // group at its top, from the root of the hierarchy
	point       string // directory
	unified     bool   // version 2
	controllers []string
}

// membership is a process's place in one hierarchy.
type membership struct {
	controllers []string // none: version 2
	path        string   // from the root of the hierarchy
}

// place is a process's group for one controller, and what is above it.
type place struct {
	mount   mount
	path    string // of the group below the mount's directory, "/" at its top
	visible bool
}

// parseMounts finds the hierarchies in the text of /proc/<pid>/mountinfo.
func parseMounts(text string) []mount {
	var list []mount
	for line := range strings.Lines(text) {
		before, after, ok := strings.Cut(line, " - ")
		place, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(place) < 6 || len(kind) < 3 {
			continue
		}
		m := mount{root: unescape(place[3]), point: unescape(place[4])}
		switch kind[0] {
		case "cgroup2":
			m.unified = true
		case "cgroup":
			m.controllers = strings.Split(kind[2], ",")
		default:
			continue
		}
		list = append(list, m)
	}
	return list
}

// unescape takes back what mountinfo does to blanks and backslashes in paths.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace

// parseMemberships reads the text of /proc/<pid>/cgroup.
func parseMemberships(text string) ([]membership, error) {
	var list []membership
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 || !strings.HasPrefix(parts[2], "/") {
			return nil, fmt.Errorf("line %q: expected number:controllers:/path", line)
		}
		m := membership{path: parts[2]}
		if parts[1] != "" {
			m.controllers = strings.Split(parts[1], ",")
		}
		list = append(list, m)
	}
	if len(list) == 0 {
		return nil, errors.New("names no group")
	}
	return list, nil
}

// errInvisible: the group is outside of what this process sees.
var errInvisible = errors.New("lies outside of the groups that this process sees")

// locate finds a process's group for a controller: in that controller's hierarchy of version 1, else in version 2. False if neither is there.
func locate(mounts []mount, memberships []membership, controller string) (place, bool, error) {
	for _, unified := range []bool{false, true} {
		var found []mount
		for _, m := range mounts {
			if m.unified == unified && (unified || slices.Contains(m.controllers, controller)) {
				found = append(found, m)
			}
		}
		at := slices.IndexFunc(memberships, func(m membership) bool {
			return unified && m.controllers == nil || !unified && slices.Contains(m.controllers, controller)
		})
		if len(found) == 0 || at < 0 {
			continue
		}
		p, err := below(found, memberships[at].path)
		return p, err == nil, err
	}
	return place{}, false, nil
}

// below finds the path in the mount that shows most of what is above it.
func below(mounts []mount, group string) (place, error) {
	best := place{}
	for _, m := range mounts {
		rest, ok := strings.CutPrefix(group, strings.TrimSuffix(m.root, "/"))
		if !ok || rest != "" && rest[0] != '/' || strings.HasPrefix(group, "/..") {
			continue
		}
		if !best.visible || len(m.root) < len(best.mount.root) {
			best = place{mount: m, path: path.Clean("/" + rest), visible: true}
		}
	}
	if !best.visible {
		return best, fmt.Errorf("group %s %w", group, errInvisible)
	}
	return best, nil
}

// levels are the paths of a group and of all above it, up to the top of the mount.
func levels(group string) []string {
	list := []string{group}
	for group != "/" {
		group = path.Dir(group)
		list = append(list, group)
	}
	return list
}

// file is the name of a file of a group in an fs.FS whose root is the file system's.
func (m mount) file(group, name string) string {
	return strings.TrimPrefix(path.Join(m.point, group, name), "/")
}
