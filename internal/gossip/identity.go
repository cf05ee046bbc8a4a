package gossip

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/memberlist"
)

// Role is what a member does.
type Role string

// Roles.
const (
	RoleAgent     Role = "agent"
	RoleAllocator Role = "allocator"
)

// Identity is what a member says of itself for its whole life.
type Identity struct {
	Role    Role
	Cluster string
	Name    string // of the agent or allocator
	Region  string
	Zone    string
	Version string // of the software
}

// name is that of one life: role, name and a number that does not come again.
func (i Identity) name() string {
	return fmt.Sprintf("%s.%s.%016x", i.Role, i.Name, rand.Uint64())
}

// Keys of tags.
const (
	tagRole    = "role"
	tagCluster = "cluster"
	tagName    = "id"
	tagRegion  = "region"
	tagZone    = "zone"
	tagVersion = "version"
	tagApps    = "apps"
	tagMore    = "more" // how many apps there are besides, for which there was no room
)

// settingOf is the setting that a tag comes from.
func settingOf(tag string) string {
	if tag == tagName {
		return "name"
	}
	return tag
}

// tags are the identity and as many apps as fit; it fails if the identity alone does not.
func (i Identity) tags(apps []string) (map[string]string, error) {
	tags := map[string]string{tagRole: string(i.Role), tagCluster: i.Cluster, tagName: i.Name}
	for key, value := range map[string]string{tagRegion: i.Region, tagZone: i.Zone, tagVersion: i.Version} {
		if value != "" {
			tags[key] = value
		}
	}
	if size := encodedTags(tags); size > memberlist.MetaMaxSize {
		longest := slices.MaxFunc(slices.Sorted(maps.Keys(tags)), func(a, b string) int { return len(tags[a]) - len(tags[b]) })
		return nil, fmt.Errorf("%s: gossip has room for %d bytes of tags, these need %d: shorten it, it has %d", settingOf(longest), memberlist.MetaMaxSize, size, len(tags[longest]))
	}
	sorted := slices.Sorted(slices.Values(apps))
	for n := len(sorted); n >= 0; n-- {
		with := maps.Clone(tags)
		if n > 0 {
			with[tagApps] = strings.Join(sorted[:n], ",")
		}
		if n < len(sorted) {
			with[tagMore] = strconv.Itoa(len(sorted) - n)
		}
		if encodedTags(with) <= memberlist.MetaMaxSize {
			return with, nil
		}
	}
	return tags, nil
}

// encodedTags is how long tags are as serf encodes them: a byte, then a msgpack map of old-style raw strings.
func encodedTags(tags map[string]string) int {
	size := 1 + 1
	if len(tags) > 15 {
		size += 2
	}
	raw := func(s string) int {
		if len(s) < 32 {
			return 1 + len(s)
		}
		return 3 + len(s)
	}
	for key, value := range tags {
		size += raw(key) + raw(value)
	}
	return size
}

// identityOf reads the tags of a member.
func identityOf(tags map[string]string) (i Identity, apps []string, more int) {
	i = Identity{
		Role: Role(tags[tagRole]), Cluster: tags[tagCluster], Name: tags[tagName], Region: tags[tagRegion], Zone: tags[tagZone], Version: tags[tagVersion],
	}
	if list := tags[tagApps]; list != "" {
		apps = strings.Split(list, ",")
	}
	more, err := strconv.Atoi(tags[tagMore])
	if err != nil {
		more = 0
	}
	return i, apps, more
}
