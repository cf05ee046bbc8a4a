// Package config reads what people write: settings of the daemons (flag over environment over YAML file, DESIGN §10), specs of apps, and
// other messages (ParseMessage).
//
// It is strict. Unknown fields, wrong types, duplicate keys and bad durations are errors that name the place (file and line, variable or
// flag), the field and what was expected; nothing is guessed and nothing is skipped. All errors are found in one go. A key of a setting
// is flat, `lease_validity`; a file may also nest it, `lease: {validity: 6s}`. The variable is SHARDMANAGER_LEASE_VALIDITY, the flag
// --lease-validity.
//
// Called by cmd/shardmanager, and by allocator/policy and allocator/webhook for their messages. It knows no setting by name, checks no meaning (the Validate methods
// of the configurations do; Explain adds the place to their errors) and keeps no state beyond a Set.
package config
