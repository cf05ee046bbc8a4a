package overlap

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
)

// errNotAHistory is about a file that Create or Read was given by mistake.
var errNotAHistory = errors.New("not a history of this version: choose another path or remove the file")

// Process names one process's history: by its file, its pid, or both; of several lives that match, the last one that had begun at the
// instant in question.
type Process struct {
	File string
	PID  int
}

// History is what one process recorded during its life.
type History struct {
	Process Process
	Opened  int64 // instant of the first record
	Torn    bool  // the file ends inside a record
	Records []Record
}

// Read reads the histories in a file, one for each process that wrote to it, oldest first. A torn last record is left out: nothing that
// it is about was acknowledged.
func Read(path string) ([]History, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read history: %w", err)
	}
	defer func() { _ = file.Close() }()
	histories, err := read(bufio.NewReaderSize(file, 1<<20), path)
	if err != nil {
		return nil, fmt.Errorf("read history: %s: %w", path, err)
	}
	return histories, nil
}

func read(r *bufio.Reader, path string) ([]History, error) {
	var histories []History
	names := map[string]string{}
	intern := func(b []byte) string {
		if s, ok := names[string(b)]; ok {
			return s
		}
		s := string(b)
		names[s] = s
		return s
	}
	var buffer [recordSize]byte
	for offset := int64(0); ; offset += recordSize {
		switch _, err := io.ReadFull(r, buffer[:]); {
		case errors.Is(err, io.EOF):
			return histories, nil
		case errors.Is(err, io.ErrUnexpectedEOF):
			if len(histories) == 0 {
				return nil, errNotAHistory
			}
			histories[len(histories)-1].Torn = true
			return histories, nil
		case err != nil:
			return nil, err
		}
		record, err := decode(buffer[:], intern)
		if err != nil && offset > 0 {
			if _, more := r.Peek(1); !errors.Is(more, io.EOF) {
				return nil, fmt.Errorf("byte %d: %w", offset, err)
			}
			histories[len(histories)-1].Torn = true
			return histories, nil
		}
		switch {
		case err == nil && record.Kind == ProcessStarted && record.Name == magic:
			histories = append(histories, History{Process: Process{File: path, PID: int(record.Term)}, Opened: record.At})
		case err != nil || len(histories) == 0:
			return nil, errNotAHistory
		default:
			last := &histories[len(histories)-1]
			last.Records = append(last.Records, record)
		}
	}
}
