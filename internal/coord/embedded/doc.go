// Package embedded is the coordination store for development and for the processes of one machine: one bbolt file, or memory, behind
// the semantics of internal/coord. Engine is the store itself, NewHandler serves it to other processes as StoreService, and Client is
// a coord.Store that talks to such a handler. The commands `shardmanager store` and `shardmanager dev` use them; allocators and agents
// see a coord.Store only.
//
// Invariants.
//
//   - Everything is kept in memory; the backend holds the same, on disk. A change is written to the backend first, whole or not at all,
//     and only then becomes visible. A change that the backend refused leaves no trace.
//   - There is one writer at a time (the holder of the turn). Reads and renewals never wait for the disk.
//   - One index counts every change, sessions included, and is stored with the change: it never goes back, restarts included.
//   - The file is locked (flock, close-on-exec) for the life of the process that opened it (PROTOCOL R33).
//   - A session's timer counts from its last renewal, on the clock that ends later (PROTOCOL R8), and restarts in full when the store
//     restarts or finds that it was itself stopped: while nobody could renew, nobody is blamed.
//
// It never discards data: a damaged file is refused with a remedy, not repaired and not moved away, because a store that starts empty
// takes terms back. It never retries a caller's transaction, and it never logs: what went wrong is returned, or told by Health.
package embedded
