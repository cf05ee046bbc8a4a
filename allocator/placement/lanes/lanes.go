// Package lanes compares four small amounts at once, in the 16-bit lanes of a word: a search asks far more often whether a load fits somewhere than
// it finds that it does, and most answers need no more than a glance. Lanes hold 0 to [Most]; the sum of two of them and one more is still a lane.
package lanes

// Most is the largest amount that is packed. [Fits] and [Short] take lanes of up to twice as much, and one.
const Most = 1<<13 - 1

// Each lane's highest bit guards it from its neighbour's borrow; Ones is 1 in each lane.
const (
	guards = 0x8000_8000_8000_8000
	Ones   = 0x0001_0001_0001_0001
)

// Set puts an amount that is at most [Most] into one of four lanes that was 0.
func Set(word uint64, lane int, amount uint64) uint64 { return word | amount<<(16*lane) }

// Fits reports whether no lane of load is above that of room.
func Fits(room, load uint64) bool { return ((room|guards)-load)&guards == guards }

// Sum adds up the lanes of a word, which are at most [Most].
func Sum(word uint64) uint64 { return word * Ones >> 48 }

// Short is by how much each lane of room is below that of load, or 0.
func Short(load, room uint64) uint64 {
	d := (load | guards) - room
	more := d & guards
	return d & (more - more>>15)
}
