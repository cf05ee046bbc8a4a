package kvstore

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The protocol: a connection carries one request at a time and its answer. A frame is its length (4 bytes, little endian) and a body.
//
//	request:  op (1), term, value, seen, client, number (8 each), length of the shard's id (2), shard, key
//	answer:   status (1), then value, version (8 each) of an entry; or entries, each with the length of its key (2) and the key; or a text
//
// It is lean because every request to the example makes one of these.

type operation uint8

const (
	opRaiseTerm operation = iota + 1
	opScan
	opRead
	opWrite
)

type status uint8

const (
	statusEntry      status = iota + 1 // an entry follows; of a write: applied
	statusConflict                     // an entry follows
	statusSuperseded                   // an entry follows
	statusEntries                      // entries follow
	statusStaleTerm                    // a text follows
	statusNotRaised                    // a text follows
	statusInvalid                      // a text follows: the request was not understood
)

// maxFrame bounds a body: a shard of about 300 000 short keys. A larger scan is refused.
const maxFrame = 16 << 20

const (
	requestHeader = 1 + 5*8 + 2
	entrySize     = 2 * 8
)

var errShortFrame = errors.New("frame shorter than its contents")

// request is every operation in one form; unused fields are zero.
type request struct {
	op         operation
	shard, key string
	term       uint64
	value      int64
	seen       uint64
	id         RequestID
}

func (r request) append(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, uint32(requestHeader+len(r.shard)+len(r.key)))
	b = append(b, byte(r.op))
	for _, n := range [...]uint64{r.term, uint64(r.value), r.seen, r.id.Client, r.id.Number} {
		b = binary.LittleEndian.AppendUint64(b, n)
	}
	b = binary.LittleEndian.AppendUint16(b, uint16(len(r.shard)))
	b = append(b, r.shard...)
	return append(b, r.key...)
}

func parseRequest(b []byte) (request, error) {
	if len(b) < requestHeader {
		return request{}, errShortFrame
	}
	number := func(i int) uint64 { return binary.LittleEndian.Uint64(b[1+8*i:]) }
	rest := b[requestHeader:]
	shard := int(binary.LittleEndian.Uint16(b[requestHeader-2:]))
	if len(rest) < shard {
		return request{}, errShortFrame
	}
	return request{
		op: operation(b[0]), term: number(0), value: int64(number(1)), seen: number(2), id: RequestID{Client: number(3), Number: number(4)},
		shard: string(rest[:shard]), key: string(rest[shard:]),
	}, nil
}

// beginFrame starts an answer of a status; endFrame fills its length in.
func beginFrame(b []byte, s status) []byte { return append(b, 0, 0, 0, 0, byte(s)) }

func endFrame(b []byte) []byte {
	binary.LittleEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

func appendEntry(b []byte, e Entry) []byte {
	b = binary.LittleEndian.AppendUint64(b, uint64(e.Value))
	return binary.LittleEndian.AppendUint64(b, e.Version)
}

func parseEntry(b []byte) (Entry, error) {
	if len(b) < entrySize {
		return Entry{}, errShortFrame
	}
	return Entry{Value: int64(binary.LittleEndian.Uint64(b)), Version: binary.LittleEndian.Uint64(b[8:])}, nil
}

func appendKeyed(b []byte, key string, e Entry) []byte {
	b = binary.LittleEndian.AppendUint16(appendEntry(b, e), uint16(len(key)))
	return append(b, key...)
}

func parseEntries(b []byte) (map[string]Entry, error) {
	entries := map[string]Entry{}
	for len(b) > 0 {
		e, err := parseEntry(b)
		if err != nil || len(b) < entrySize+2 {
			return nil, errShortFrame
		}
		length := int(binary.LittleEndian.Uint16(b[entrySize:]))
		b = b[entrySize+2:]
		if len(b) < length {
			return nil, errShortFrame
		}
		entries[string(b[:length])] = e
		b = b[length:]
	}
	return entries, nil
}

// readFrame reads a body into buffer, which grows as needed.
func readFrame(r *bufio.Reader, buffer []byte) ([]byte, error) {
	head, err := r.Peek(4)
	if err != nil {
		return nil, err
	}
	length := binary.LittleEndian.Uint32(head)
	if length == 0 || length > maxFrame {
		return nil, fmt.Errorf("frame of %d bytes: expected 1 to %d", length, maxFrame)
	}
	if _, err := r.Discard(4); err != nil {
		return nil, err
	}
	if cap(buffer) < int(length) {
		buffer = make([]byte, length)
	}
	buffer = buffer[:length]
	_, err = io.ReadFull(r, buffer)
	return buffer, err
}
