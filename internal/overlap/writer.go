package overlap

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/shardmanager/shardmanager/internal/clock"
)

// MaxFileBytes is where a history ends: 16 million records. What comes later is not recorded, the file says so, and Analyse refuses it.
const MaxFileBytes = 1 << 30

// Writer appends the history of this process to a file. It implements sdk.Observer and is safe for concurrent use. A write that fails
// ends the history: Err and Failed tell, and the process should stop, for it can no longer be judged.
type Writer struct {
	now func() int64

	mu          sync.Mutex
	file        *os.File
	buffer      [recordSize]byte
	left        int64 // bytes until MaxFileBytes
	server      string
	incarnation uint64
	err         error
	failed      chan struct{}
}

// Create opens the history at path, or goes on after what an earlier process wrote there; a torn last record is cut off.
func Create(path string) (*Writer, error) {
	return create(path, MaxFileBytes, func() int64 { return clock.Now().Raw })
}

func create(path string, limit int64, now func() int64) (*Writer, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("create history: %w", err)
	}
	size, err := trim(file)
	if err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("create history: %s: %w", path, err)
	}
	w := &Writer{now: now, file: file, left: limit - size, failed: make(chan struct{})}
	w.append(Record{Kind: ProcessStarted, Name: magic, Term: uint64(os.Getpid()), At: now()})
	if w.err != nil {
		return nil, w.Close()
	}
	return w, nil
}

// trim cuts off a torn last record and refuses a file that is no history; it returns the size left.
func trim(file *os.File) (int64, error) {
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	whole := info.Size() - info.Size()%recordSize
	if whole > 0 {
		if first, err := readAt(file, 0); err != nil || first.Name != magic {
			return 0, errors.Join(errNotAHistory, err)
		}
		if _, err := readAt(file, whole-recordSize); err != nil {
			whole -= recordSize
		}
	}
	if whole == info.Size() {
		return whole, nil
	}
	return whole, file.Truncate(whole)
}

func readAt(file *os.File, offset int64) (Record, error) {
	var b [recordSize]byte
	if _, err := file.ReadAt(b[:], offset); err != nil {
		return Record{}, err
	}
	return decode(b[:], func(name []byte) string { return string(name) })
}

// SetServer says which server and incarnation this process is. To be called before the first shard of an incarnation is activated;
// repeating it costs nothing.
func (w *Writer) SetServer(server string, incarnation uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.server != server || w.incarnation != incarnation {
		w.server, w.incarnation = server, incarnation
		w.appendLocked(Record{Kind: ServerNamed, Name: server, Term: incarnation, At: w.now()})
	}
}

// Activated records that an owner's claim starts.
func (w *Writer) Activated(shard string, term uint64, at int64) {
	w.append(Record{Kind: Activated, Name: shard, Term: term, At: at})
}

// Released records that an owner's claim ends.
func (w *Writer) Released(shard string, term uint64, at int64) {
	w.append(Record{Kind: Released, Name: shard, Term: term, At: at})
}

// LeaseExtended records the lease's new end; it counts from now on.
func (w *Writer) LeaseExtended(end int64) {
	w.append(Record{Kind: LeaseExtended, At: w.now(), End: end})
}

// LeaseRevoked records that the lease ended early.
func (w *Writer) LeaseRevoked(at int64) { w.append(Record{Kind: LeaseRevoked, At: at}) }

// Operation records an operation whose final lease check passed.
func (w *Writer) Operation(shard string, term uint64, start, end int64) {
	w.append(Record{Kind: Operation, Name: shard, Term: term, At: start, End: end})
}

func (w *Writer) append(r Record) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.appendLocked(r)
}

// appendLocked writes one record by one write(2).
func (w *Writer) appendLocked(r Record) {
	switch {
	case w.err != nil || w.left <= 0:
		return
	case len(r.Name) > MaxName:
		w.fail(fmt.Errorf("history %s: name %q has %d bytes, at most %d fit: choose a shorter name", w.file.Name(), r.Name, len(r.Name), MaxName))
		return
	case w.left <= recordSize:
		r = Record{Kind: FileFull, At: w.now()}
	}
	w.left -= recordSize
	r.encode(&w.buffer)
	if _, err := w.file.Write(w.buffer[:]); err != nil {
		w.fail(fmt.Errorf("history: %w", err))
	}
}

func (w *Writer) fail(err error) {
	w.err = err
	close(w.failed)
}

// Failed is closed when a record could not be written.
func (w *Writer) Failed() <-chan struct{} { return w.failed }

// Err is the first failure to write, or nil.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Close records that this process executes nothing more, and closes the file. It returns the first failure to write.
func (w *Writer) Close() error {
	w.append(Record{Kind: ProcessClosed, At: w.now()})
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.file.Close(); w.err == nil && err != nil {
		w.fail(fmt.Errorf("history: %w", err))
	}
	if w.err == nil {
		w.left = 0
	}
	return w.err
}
