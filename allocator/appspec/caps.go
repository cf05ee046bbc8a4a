package appspec

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shardmanager/shardmanager/allocator/maintenance/caps"
	"github.com/shardmanager/shardmanager/internal/wire"
	pb "github.com/shardmanager/shardmanager/proto/shardmanager/v1"
)

// days of a week, by their bits in a window.
var days = [...]string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}

const timeOfDay = "15:04"

func capsFromProto(p *pb.MaintenanceCaps) (caps.Caps, error) {
	c := caps.Caps{Unavailable: optional(p.GetMaxUnavailableReplicas(), p == nil || p.MaxUnavailableReplicas == nil), Down: optional(p.GetMaxServersDown(), p == nil || p.MaxServersDown == nil),
		DownRegion: optional(p.GetMaxServersDownPerRegion(), p == nil || p.MaxServersDownPerRegion == nil), Everything: p.GetRestartDrainsAll()}
	for i, w := range p.GetWindows() {
		field := fmt.Sprintf("spec.maintenance.windows[%d].", i)
		opens, err := time.Parse(timeOfDay, w.GetStart())
		if err != nil {
			return c, &wire.FieldError{Field: field + "start", Expected: fmt.Sprintf("a time of day, HH:MM, in UTC, not %q", w.GetStart())}
		}
		window := caps.Window{Opens: time.Duration(opens.Hour())*time.Hour + time.Duration(opens.Minute())*time.Minute, Length: time.Duration(w.GetMinutes()) * time.Minute}
		for _, name := range w.GetDays() {
			bit := slices.Index(days[:], strings.ToUpper(name))
			if bit < 0 {
				return c, &wire.FieldError{Field: field + "days", Expected: fmt.Sprintf("MON, TUE, WED, THU, FRI, SAT or SUN, not %q", name)}
			}
			window.Days |= 1 << bit
		}
		c.Windows = append(c.Windows, window)
	}
	return c, nil
}

func capsToProto(c caps.Caps) *pb.MaintenanceCaps {
	p := &pb.MaintenanceCaps{MaxUnavailableReplicas: optionalProto(c.Unavailable), MaxServersDown: optionalProto(c.Down), MaxServersDownPerRegion: optionalProto(c.DownRegion),
		RestartDrainsAll: c.Everything}
	for _, w := range c.Windows {
		window := &pb.MaintenanceWindow{Start: time.Time{}.Add(w.Opens).Format(timeOfDay), Minutes: uint32(w.Length / time.Minute)}
		for bit, name := range days {
			if w.Days>>bit&1 == 1 {
				window.Days = append(window.Days, name)
			}
		}
		p.Windows = append(p.Windows, window)
	}
	if c.Unavailable == nil && c.Down == nil && c.DownRegion == nil && len(c.Windows) == 0 && !c.Everything {
		return nil
	}
	return p
}

func optional(n uint32, unset bool) *int {
	if unset {
		return nil
	}
	v := number(n)
	return &v
}

func optionalProto(n *int) *uint32 {
	if n == nil {
		return nil
	}
	v := uint32(*n)
	return &v
}
