package shard

import "regexp"

var name = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`)

// NameRule says in words what ValidName takes.
const NameRule = "1 to 128 of A-Z, a-z, 0-9, . _ : and -, starting with a letter or digit"

// ValidName reports whether a text may be the id of something that users name: a shard, an approval.
func ValidName(text string) bool { return name.MatchString(text) }
