// Package snapshot copies what a cluster keeps in its store into a file, and reads such files (proto/shardmanager/v1/snapshot.proto has the form).
//
// A copy is one consistent read of every key of the cluster, taken over as it is, so that a version that knows more finds what this one cannot read.
// A file is read whole and its checksum is compared before anything is said of it; what is damaged, cut short or has something after its end is
// refused. allocator/restore puts one back.
//
// Called by the allocator, which serves it, and by cmd/shardmanager.
package snapshot

import (
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protodelim"

	"github.com/shardmanager/shardmanager/internal/coord"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

const (
	// format is that of the files that are written.
	format = 1
	// magic begins the contents.
	magic = "SHARDMANAGER SNAPSHOT\n"
)

// Write writes a file of the entries, which are in key order.
func Write(w io.Writer, header *pb.SnapshotHeader, entries []coord.Entry) error {
	header.Format = format
	packed := gzip.NewWriter(w)
	sum := sha256.New()
	summed := io.MultiWriter(packed, sum)
	_, err := io.WriteString(summed, magic)
	put := func(to io.Writer, record *pb.SnapshotRecord) {
		if err == nil {
			_, err = protodelim.MarshalTo(to, record)
		}
	}
	put(summed, &pb.SnapshotRecord{Record: &pb.SnapshotRecord_Header{Header: header}})
	for _, e := range entries {
		put(summed, &pb.SnapshotRecord{Record: &pb.SnapshotRecord_Entry{Entry: &pb.SnapshotEntry{
			Key: e.Key, Value: e.Value, CreateIndex: uint64(e.Create), ModifyIndex: uint64(e.Modify), Session: string(e.Session),
		}}})
	}
	put(packed, &pb.SnapshotRecord{Record: &pb.SnapshotRecord_Trailer{Trailer: &pb.SnapshotTrailer{Entries: uint64(len(entries)), Sha256: sum.Sum(nil)}}})
	if err := errors.Join(err, packed.Close()); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return nil
}
