// Package rss says how much memory a benchmark needed.
package rss

import "syscall"

// PeakMiB is the largest resident set of this process so far, in MiB; 0 where the system does not say.
func PeakMiB() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Maxrss / 1024
}
