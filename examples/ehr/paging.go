package main

import (
	"context"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pagers"
	"github.com/carewire/carewire/pagers/ical"
)

// policy names the recipients: those on duty on the patient's ward, then the
// physicians too, then the coordinator as well. The last step is told again and again.
// A patient in no ward begins with the physicians.
func (w *wards) policy(step time.Duration) carewire.Policy {
	return func(_ context.Context, a carewire.Alert, n int) (carewire.Step, error) {
		if a.Patient == carewire.SystemPatient {
			return carewire.Step{To: []string{"person:ops"}, After: step}, nil
		}
		to := slices.DeleteFunc([]string{"group:" + w.ward(a.Patient), "group:physicians", "person:kim"}, func(to string) bool { return to == "group:" })
		if n > len(to) {
			return carewire.Step{}, carewire.ErrNoStep
		}
		return carewire.Step{To: to[:n], After: step}, nil
	}
}

// rota names the people on duty: by a calendar with events such as "ward-5 ada", if the
// house has one, and else each week the same people.
func rota(calendar string, log *slog.Logger) (*pagers.Rota, error) {
	zone, err := time.LoadLocation("Europe/London")
	if err != nil {
		return nil, err
	}
	r := &pagers.Rota{Zone: zone, Handover: 15 * time.Minute}
	if calendar != "" {
		f, err := os.Open(calendar)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		shifts, err := ical.Read(f, zone, func(e ical.Event) (group, person string, ok bool) { return strings.Cut(e.Summary, " ") })
		if shifts == nil {
			return nil, err
		}
		if r.More = shifts.Shifts; err != nil {
			log.Error("pages to groups with such a shift fail", "error", err)
		}
		return r, nil
	}
	every := []time.Weekday{time.Sunday, time.Monday, time.Tuesday, time.Wednesday, time.Thursday, time.Friday, time.Saturday}
	r.Weekly = []pagers.Weekly{
		{Group: "ward-5", Person: "ada", Days: every, From: "07:00", To: "19:30"},
		{Group: "ward-5", Person: "eve", Days: every, From: "19:00", To: "07:30"},
		{Group: "ward-6", Person: "ben", Days: every, From: "00:00", To: "00:00"},
		{Group: "physicians", Person: "eve", Days: every, From: "00:00", To: "00:00"},
	}
	return r, r.Validate()
}

// pager turns groups into the people on duty, and tells them by the gateway. An
// immediate reply of the gateway is an answer of that person.
func (h *host) pager() carewire.Pager {
	var last atomic.Pointer[pagers.Rota]
	current := func() *pagers.Rota { // reads the calendar for each page
		if r, err := rota(h.shifts, h.log); err == nil {
			last.Store(r)
		} else {
			h.log.Error("the rota cannot be read; the one that was read last stays", "error", err)
		}
		return last.Load()
	}
	webhook := &pagers.Webhook{URL: h.gateway, Secret: h.secret, Logger: h.log, OnReply: func(ctx context.Context, p carewire.Page, reply pagers.Reply) error {
		select {
		case <-h.rights.ready: // alerts that were open before are paged while the Hub is being made
		case <-ctx.Done():
			return ctx.Err()
		}
		by, err := person(ctx, reply.By)
		if err == nil {
			_, err = h.hub.Answer(ctx, by, p.Alert.Ref(), carewire.Answer{Do: reply.Do})
		}
		return err
	}}
	return &pagers.OnCall{Rota: current, Next: pagers.NewChain(webhook)}
}
