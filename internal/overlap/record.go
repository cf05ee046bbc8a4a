package overlap

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Kind is what a record says.
type Kind uint8

// Kinds; the numbers are those of the file.
const (
	// ProcessStarted begins the history of one process; Term is its pid.
	ProcessStarted Kind = iota + 1
	// ServerNamed says which server (Name) and incarnation (Term) the process is from At on.
	ServerNamed
	// Activated says that the shard's Activate returned at At.
	Activated
	// Released says that the shard's last guard token returned at At.
	Released
	// LeaseExtended says that at At the lease's end became End.
	LeaseExtended
	// LeaseRevoked says that the lease ended early at At.
	LeaseRevoked
	// Operation says that an operation ran from At to its final lease check at End.
	Operation
	// ProcessClosed says that nothing is executed from At on.
	ProcessClosed
	// FileFull says that nothing is recorded from At on: the history cannot be judged.
	FileFull
)

// Record is one entry of a history. Instants are CLOCK_MONOTONIC_RAW nanoseconds.
type Record struct {
	Kind Kind
	Name string // the shard, or the server of ServerNamed
	Term uint64
	At   int64
	End  int64
}

// The stored form, little endian: kind, length of the name, 2 zero bytes, CRC32C of all other bytes, term, at, end, name.
const (
	recordSize = 64
	nameOffset = 32
	// MaxName is the longest name of a shard or server, in bytes.
	MaxName = recordSize - nameOffset
	magic   = "shardmanager overlap 1"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (r Record) encode(b *[recordSize]byte) {
	clear(b[:])
	b[0], b[1] = byte(r.Kind), byte(len(r.Name))
	binary.LittleEndian.PutUint64(b[8:], r.Term)
	binary.LittleEndian.PutUint64(b[16:], uint64(r.At))
	binary.LittleEndian.PutUint64(b[24:], uint64(r.End))
	copy(b[nameOffset:], r.Name)
	binary.LittleEndian.PutUint32(b[4:], checksum(b[:]))
}

// checksum covers a record without its checksum.
func checksum(b []byte) uint32 {
	return crc32.Update(crc32.Checksum(b[:4], castagnoli), castagnoli, b[8:])
}

func decode(b []byte, intern func([]byte) string) (Record, error) {
	if binary.LittleEndian.Uint32(b[4:]) != checksum(b) {
		return Record{}, fmt.Errorf("checksum mismatch")
	}
	if b[1] > MaxName {
		return Record{}, fmt.Errorf("name of %d bytes: at most %d fit", b[1], MaxName)
	}
	return Record{
		Kind: Kind(b[0]),
		Name: intern(b[nameOffset : nameOffset+int(b[1])]),
		Term: binary.LittleEndian.Uint64(b[8:]),
		At:   int64(binary.LittleEndian.Uint64(b[16:])),
		End:  int64(binary.LittleEndian.Uint64(b[24:])),
	}, nil
}
