package report_test

import (
	"testing"

	"github.com/shardmanager/shardmanager/allocator/report"
)

// The newest are kept, in order, and the forgotten ones still count.
func TestHistoryForgetsTheOldest(t *testing.T) {
	var h report.History
	for i := range report.HistoryMost + 3 {
		h.Add(report.MoveStatus{Attempts: i})
		if list := h.NewestFirst(); len(list) != min(i+1, report.HistoryMost) || list[0].Attempts != i || list[len(list)-1].Attempts != max(0, i+1-report.HistoryMost) {
			t.Fatalf("after %d moves: %d remembered, from %d to %d", i+1, len(list), list[len(list)-1].Attempts, list[0].Attempts)
		}
	}
	if h.Count() != report.HistoryMost+3 {
		t.Errorf("%d moves counted", h.Count())
	}
}
