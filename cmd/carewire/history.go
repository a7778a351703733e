package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/carewire/carewire"
)

var kinds = map[string]carewire.Kind{"vital": carewire.KindVital, "alert": carewire.KindAlert, "notice": carewire.KindNotice,
	"receipt": carewire.KindReceipt, "access": carewire.KindAccess}

// history prints the log of a patient, oldest first.
func (t *tool) history(ctx context.Context, args []string) error {
	var names list
	var q carewire.HistoryQuery
	t.flags.Var(&names, "kind", "only this `kind`: vital, alert, notice, receipt or access; may be given several times")
	t.flags.StringVar(&q.Key, "key", "", "only the alert with this key")
	t.flags.Func("from", "from this `time` on: 2026-03-01T08:00:00Z, or 2h for two hours ago", moment(&q.From))
	t.flags.Func("to", "before this `time`", moment(&q.To))
	limit := t.flags.Int("limit", 0, "at most so many entries; 0: all")
	rest, err := t.parse(args, 1, 1)
	if err != nil {
		return err
	}
	q.Patient = rest[0]
	for _, name := range names {
		kind, ok := kinds[name]
		if !ok {
			return t.misuse("-kind must be vital, alert, notice, receipt or access")
		}
		q.Kinds = append(q.Kinds, kind)
	}
	c, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	for left := *limit; ; {
		within, cancel := call(ctx)
		page, err := c.History(within, q)
		cancel()
		if err != nil {
			return err
		}
		for _, ev := range page.Events {
			t.print(toJSON(ev), describe(ev))
			if left--; left == 0 {
				return nil
			}
		}
		if q.Cursor = page.Next; q.Cursor == 0 {
			return nil
		}
	}
}

// moment reads a time, or how long ago it was.
func moment(at *time.Time) func(string) error {
	return func(text string) (err error) {
		if ago, bad := time.ParseDuration(text); bad == nil {
			*at = time.Now().Add(-ago)
			return nil
		}
		if *at, err = time.Parse(time.RFC3339, text); err != nil {
			return errors.New("must be a time such as 2026-03-01T08:00:00Z, or how long ago, such as 2h")
		}
		return nil
	}
}

// replay publishes the output of history, tail or a recorder, at its pace.
func (t *tool) replay(ctx context.Context, args []string) error {
	speed := 1.0
	t.flags.Func("speed", "how many times as fast as it was; 0: all at once (default 1)", func(text string) (err error) {
		if speed, err = strconv.ParseFloat(text, 64); err != nil || !(speed >= 0) {
			return errors.New("must be a number, 0 or more")
		}
		return nil
	})
	patient := t.flags.String("patient", "", "for this patient; without it, for those of the recording")
	live := t.flags.Bool("live", false, "not as test data: every watcher takes it for a present measurement")
	rest, err := t.parse(args, 0, 1)
	if err != nil {
		return err
	}
	in := t.in
	if len(rest) == 1 {
		f, err := os.Open(rest[0])
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	c, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return t.again(ctx, c, in, speed, func(v *carewire.Vital) {
		if *patient != "" {
			v.Patient = *patient
		}
		v.Test = v.Test || !*live
	})
}

// again publishes each vital when its time has come. It omits corrections,
// because the corrected vital has another ID now.
func (t *tool) again(ctx context.Context, c *carewire.Client, in io.Reader, speed float64, change func(*carewire.Vital)) error {
	var first time.Time
	began := time.Now()
	corrections := 0
	err := vitalLines(in, func(v carewire.Vital) error {
		switch {
		case v.Replaces != "":
			corrections++
			return nil
		case v.Time.IsZero():
			return errors.New("a vital of the recording has no time")
		case first.IsZero():
			first = v.Time
		}
		if speed > 0 {
			due := began.Add(time.Duration(float64(v.Time.Sub(first)) / speed))
			select {
			case <-time.After(time.Until(due)):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		v.ID, v.Received, v.Time = "", time.Time{}, time.Now()
		v.Quality = slices.DeleteFunc(v.Quality, func(q carewire.Quality) bool { return q == carewire.QualityLate || q == carewire.QualityFuture })
		change(&v)
		return t.send(ctx, c, []carewire.Vital{v})
	})
	if corrections > 0 {
		fmt.Fprintf(t.err, "carewire: %d corrections were left out\n", corrections)
	}
	return err
}
