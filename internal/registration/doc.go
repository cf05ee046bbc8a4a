// Package registration keeps a process in Consul's catalog: registered again when Consul forgot it, refreshed before its check turns critical,
// told anew when something about it changed, and gone after a clean stop.
//
// It is for people, DNS and Consul's UI. Nothing is decided by what the catalog says, so a failure is told once and tried again, and never
// reaches the daemon. What it costs is bounded: a refresh every five twelfths to a half of the TTL, other metadata at most once a minute,
// other tags at most every ten seconds; Consul writes nothing when neither status nor words change.
//
// The daemons' package calls it.
package registration
