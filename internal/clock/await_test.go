package clock

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, tries := time.Now(), 0
		err := Await(t.Context(), time.Minute, "the third try", func(context.Context) error {
			if tries++; tries < 3 {
				return errors.New("not yet")
			}
			return nil
		})
		if took := time.Since(began); err != nil || took != 2*awaitEvery {
			t.Errorf("%v after %s", err, took)
		}
		broken := errors.New("broken")
		err = Await(t.Context(), time.Minute, "a miracle", func(context.Context) error { return broken })
		if !errors.Is(err, broken) || !strings.Contains(err.Error(), "waited 1m0s for a miracle") {
			t.Error(err)
		}
		ended, end := context.WithCancelCause(t.Context())
		why := errors.New("the cluster ends")
		end(why)
		if err := Await(ended, time.Minute, "a miracle", func(context.Context) error { return broken }); !errors.Is(err, why) {
			t.Error(err)
		}
	})
}
