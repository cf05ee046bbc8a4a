// Package unseat lets a standby allocator end the session of a leader that answers nobody, long before the store would (PROTOCOL R16).
//
// The allocator runs one Standby beside its candidacy. While another holds the lock it asks that leader for a sign of life, and when none
// comes it asks agents of several zones when the leader last answered them. Only if two of them, in two zones, have been asking in vain, none
// was answered, and the lock is still the same in a consistent read, does it destroy the leader's session. The lock is then free without the
// clean mark: whoever takes it waits before it fences (PROTOCOL R1), so a leader that lived after all costs time and never a second owner.
//
// Invariants:
//   - what one leader did not answer is never held against another: evidence names the epoch;
//   - at most one leader is unseated in 3·LV, and none ever again once an unseated process has taken the lock back.
//
// The package never takes the lock, and decides nothing about servers.
package unseat
