package caps

import (
	"fmt"
	"time"
)

// Window is a time of the week in which planned events may be. Times are UTC.
type Window struct {
	Days   uint8         // bit 0 is Sunday; those on which it opens; 0: every day
	Opens  time.Duration // after midnight
	Length time.Duration // it may go on into the next day
}

const day = 24 * time.Hour

// Check says which field of a window is wrong, and what was expected; empty: none.
func (w Window) Check() (field, expected string) {
	switch {
	case w.Days > 1<<7-1:
		return "days", "days of the week"
	case w.Opens < 0 || w.Opens >= day:
		return "start", fmt.Sprintf("a time of day from 00:00 to 23:59, not %s after midnight", w.Opens)
	case w.Length < time.Minute || w.Length > day:
		return "minutes", fmt.Sprintf("1 to 1440, not %d", int(w.Length/time.Minute))
	}
	return "", ""
}

// left is how long a window stays open; 0: it is shut.
func (w Window) left(now time.Time) time.Duration {
	now = now.UTC()
	midnight := now.Truncate(day)
	for _, opened := range [2]time.Time{midnight.Add(w.Opens), midnight.Add(w.Opens - day)} {
		if w.opensOn(opened) && !now.Before(opened) && now.Before(opened.Add(w.Length)) {
			return opened.Add(w.Length).Sub(now)
		}
	}
	return 0
}

func (w Window) opensOn(at time.Time) bool { return w.Days == 0 || w.Days>>uint(at.Weekday())&1 == 1 }

// next is when a window opens next.
func (w Window) next(now time.Time) time.Time {
	now = now.UTC()
	at := now.Truncate(day).Add(w.Opens)
	for !at.After(now) || !w.opensOn(at) {
		at = at.Add(day)
	}
	return at
}
