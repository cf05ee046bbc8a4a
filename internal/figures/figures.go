// Package figures writes what was measured as people read it in tables: cores, bytes, rates, and how far something has come. Called by
// cmd/shardmanager. It measures and decides nothing.
package figures

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/shardmanager/shardmanager/internal/load"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// UsageHeader names the columns of Usage.
func UsageHeader() []string {
	return []string{"CPU", "MEMORY", "DISK", "NET IN", "NET OUT", "CGROUP CPU", "CGROUP MEMORY"}
}

// Usage is what is used, of how much there is, of a host and of a control group; what is not known is a dash.
func Usage(u *pb.HostUsage) []string {
	return []string{
		part(u.GetHost(), load.CPUMilli), part(u.GetHost(), load.MemoryBytes), part(u.GetHost(), load.DiskBytes), part(u.GetHost(), load.NetworkReceive),
		part(u.GetHost(), load.NetworkTransmit), part(u.GetCgroup(), load.CPUMilli), part(u.GetCgroup(), load.MemoryBytes),
	}
}

func part(r *pb.Resources, metric string) string {
	used, known := r.GetUsed()[metric]
	limit, limited := r.GetLimit()[metric]
	switch {
	case known && limited:
		return Amount(metric, used) + " of " + Amount(metric, limit)
	case known:
		return Amount(metric, used)
	case limited:
		return "? of " + Amount(metric, limit)
	}
	return "-"
}

// Amount writes a value in the unit that its metric's name says; of metrics that are not known here, as it is.
func Amount(metric string, value int64) string {
	switch {
	case metric == load.CPUMilli:
		return trimmed(float64(value) / 1000)
	case strings.HasSuffix(metric, "_bytes_per_second"):
		return Bytes(value) + "/s"
	case strings.HasSuffix(metric, "_bytes"):
		return Bytes(value)
	}
	return fmt.Sprint(value)
}

// Bytes writes a number of bytes in the largest unit of which there is at least one.
func Bytes(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1024, 0
	for ; value >= 1024 && unit < len(units)-1; unit++ {
		value /= 1024
	}
	return fmt.Sprintf("%s %ciB", trimmed(value), units[unit])
}

// trimmed has three digits or so, and no zeros at the end.
func trimmed(v float64) string {
	digits := 2
	if v >= 100 {
		digits = 0
	} else if v >= 10 {
		digits = 1
	}
	text := fmt.Sprintf("%.*f", digits, v)
	if strings.Contains(text, ".") {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

// Capacity lists capacities by metric; a dash if there are none.
func Capacity(capacity map[string]int64) string {
	if len(capacity) == 0 {
		return "-"
	}
	var parts []string
	for _, metric := range slices.Sorted(maps.Keys(capacity)) {
		parts = append(parts, metric+"="+fmt.Sprint(capacity[metric]))
	}
	return strings.Join(parts, ",")
}

// Progress is a move's detail, after how much of the state has come.
func Progress(m *pb.MoveStatus) string {
	if m.GetProgressBytes() == 0 {
		return m.GetDetail()
	}
	text := fmt.Sprintf("%d bytes", m.GetProgressBytes())
	if total := m.GetTotalBytes(); total > 0 {
		text += fmt.Sprintf(" of %d", total)
	}
	return text + " received; " + m.GetDetail()
}
