package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/carewire/carewire"
)

// watching are the flags of all commands that watch.
func (t *tool) watching(o *carewire.WatchOptions) {
	t.flags.Var((*list)(&o.Groups), "group", "watch the patients of this `group`; may be given several times")
	t.flags.BoolVar(&o.Emergency, "emergency", false, "ask for break-glass; needs -reason, and the team sees it")
	t.flags.StringVar(&o.Reason, "reason", "", "why, for -emergency")
}

// begin connects and watches, and reports refused patients.
func (t *tool) begin(ctx context.Context, o carewire.WatchOptions) (*carewire.Client, carewire.WatchResult, error) {
	if len(o.Patients)+len(o.Groups) == 0 {
		return nil, carewire.WatchResult{}, t.misuse("name a patient, or a -group")
	}
	if o.Emergency && o.Reason == "" {
		return nil, carewire.WatchResult{}, t.misuse("-emergency needs a -reason")
	}
	c, err := t.dial(ctx)
	if err != nil {
		return nil, carewire.WatchResult{}, err
	}
	within, cancel := call(ctx)
	defer cancel()
	result, err := c.Watch(within, o)
	if err == nil && len(result.Patients) == 0 && len(result.Refused) > 0 && len(o.Groups) == 0 {
		err = &carewire.RequestError{Code: result.Refused[0].Code}
	}
	if err != nil {
		c.Close()
		return nil, result, err
	}
	for _, r := range result.Refused {
		fmt.Fprintf(t.err, "carewire: %s is not watched: %s\n", clean(cmp.Or(r.Patient, "group "+r.Group)), explainRequest(&carewire.RequestError{Code: r.Code}))
	}
	return c, result, nil
}

// tail prints each event.
func (t *tool) tail(ctx context.Context, args []string) error {
	var o carewire.WatchOptions
	t.watching(&o)
	t.flags.Func("delivery", "which vitals: latest (default), every or alerts", func(text string) error {
		o.Delivery = carewire.Delivery(text)
		if o.Delivery != carewire.DeliverLatest && o.Delivery != carewire.DeliverEvery && o.Delivery != carewire.DeliverAlerts {
			return errors.New("must be latest, every or alerts")
		}
		return nil
	})
	patients, err := t.parse(args, 0, -1)
	if err != nil {
		return err
	}
	o.Patients = patients
	c, _, err := t.begin(ctx, o)
	if err != nil {
		return err
	}
	defer c.Close()
	for ev, err := range c.Events(ctx) {
		if err != nil {
			return err
		}
		if line := describe(ev); line != "" || t.json {
			t.print(toJSON(ev), line)
		}
	}
	return nil
}

// watch shows the present state of the patients, again after each change.
func (t *tool) watch(ctx context.Context, args []string) error {
	var o carewire.WatchOptions
	t.watching(&o)
	every := t.flags.Duration("every", time.Second, "show it at most this often")
	once := t.flags.Bool("once", false, "show it once, when all is there, and end")
	patients, err := t.parse(args, 0, -1)
	if err != nil {
		return err
	}
	o.Patients = patients
	c, result, err := t.begin(ctx, o)
	if err != nil {
		return err
	}
	defer c.Close()
	events, fault := make(chan carewire.Event), make(chan error, 1)
	go func() {
		for ev, err := range c.Events(ctx) {
			if err != nil {
				fault <- err
				return
			}
			select {
			case events <- ev:
			case <-ctx.Done():
				return
			}
		}
	}()
	p := picture{patients: make(map[string]*patient)}
	for _, name := range result.Patients {
		p.of(name)
	}
	tick := time.NewTicker(max(*every, 10*time.Millisecond))
	defer tick.Stop()
	changed := true
	for {
		select {
		case ev := <-events:
			changed = p.take(ev) || changed
		case err := <-fault:
			return err
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if whole := p.whole(); changed && (whole || !*once) {
				changed = false
				t.show(&p)
				if *once {
					return nil
				}
			}
		}
	}
}

// picture is the known state of the watched patients.
type picture struct {
	patients map[string]*patient
	line     string // the fault of the connection or of the host's store; "": none
}

type patient struct {
	synced bool
	stale  bool
	vitals map[string]*carewire.Vital
	alerts map[string]*carewire.Alert // open, by key
}

func (p *picture) of(name string) *patient {
	if p.patients[name] == nil {
		p.patients[name] = &patient{vitals: make(map[string]*carewire.Vital), alerts: make(map[string]*carewire.Alert)}
	}
	return p.patients[name]
}

// whole reports whether all that there was has come.
func (p *picture) whole() bool {
	for _, one := range p.patients {
		if !one.synced {
			return false
		}
	}
	return true
}

// take takes an event in, and reports whether it has changed the picture.
func (p *picture) take(ev carewire.Event) bool {
	switch ev.Type {
	case carewire.EventSync:
		if !ev.Recovered {
			delete(p.patients, ev.Patient)
		}
		p.of(ev.Patient).synced = false
	case carewire.EventSynced:
		one := p.of(ev.Patient)
		one.synced, one.stale = true, false
	case carewire.EventVital:
		v := ev.Vital
		key := strings.Join([]string{v.System, v.Code, v.Device, v.Site}, "|")
		if v.Status == carewire.VitalEnteredInError {
			delete(p.of(ev.Patient).vitals, key)
		} else {
			p.of(ev.Patient).vitals[key] = v
		}
	case carewire.EventAlert:
		if ev.Alert.Open() {
			p.of(ev.Patient).alerts[alertKey(ev.Alert)] = ev.Alert
		} else {
			delete(p.of(ev.Patient).alerts, alertKey(ev.Alert))
		}
	case carewire.EventRevoked:
		delete(p.patients, ev.Patient)
	case carewire.EventLost, carewire.EventStale, carewire.EventLive, carewire.EventStatus:
		return p.lineChanged(ev)
	default:
		return false
	}
	return true
}

// alertKey is the alert's key; a drill has one of its own.
func alertKey(a *carewire.Alert) string { return fmt.Sprint(a.Key, a.Test) }

func (p *picture) lineChanged(ev carewire.Event) bool {
	switch {
	case ev.Patient != "":
		p.of(ev.Patient).stale = ev.Type == carewire.EventStale
	case ev.Type == carewire.EventLost:
		p.line = "THE CONNECTION IS LOST: the values shown are old"
	case ev.Type == carewire.EventStale:
		p.line = "NOTHING HAS COME FOR TOO LONG: the values shown may be old"
	case ev.Type == carewire.EventStatus && ev.Store != "ok":
		p.line = "the host's store is " + clean(ev.Store)
	default:
		p.line = ""
	}
	return true
}

type pictureJSON struct {
	Line     string        `json:"line,omitempty"`
	Patients []patientJSON `json:"patients"`
}

type patientJSON struct {
	Patient string            `json:"patient"`
	Current bool              `json:"current"`
	Alerts  []*carewire.Alert `json:"alerts"`
	Vitals  []*carewire.Vital `json:"vitals"`
}

func (p *picture) json() pictureJSON {
	all := pictureJSON{Line: p.line, Patients: []patientJSON{}}
	for _, name := range slices.Sorted(maps.Keys(p.patients)) {
		one := p.patients[name]
		j := patientJSON{Patient: name, Current: one.synced && !one.stale && p.line == "", Alerts: []*carewire.Alert{}, Vitals: []*carewire.Vital{}}
		for _, key := range slices.Sorted(maps.Keys(one.alerts)) {
			j.Alerts = append(j.Alerts, one.alerts[key])
		}
		for _, key := range slices.Sorted(maps.Keys(one.vitals)) {
			j.Vitals = append(j.Vitals, one.vitals[key])
		}
		all.Patients = append(all.Patients, j)
	}
	return all
}

// show prints the picture: over the last one where that is a terminal.
func (t *tool) show(p *picture) {
	j := p.json()
	var b strings.Builder
	if isTerminal(t.out) && !t.json {
		fmt.Fprint(t.out, "\x1b[H\x1b[2J")
	}
	if j.Line != "" {
		fmt.Fprintln(&b, j.Line)
	}
	for _, one := range j.Patients {
		state := ""
		if !one.Current {
			state = "  NOT CURRENT"
		}
		fmt.Fprintf(&b, "%s%s\n", clean(one.Patient), state)
		for _, a := range one.Alerts {
			fmt.Fprintf(&b, "  %-8s  ALERT %s\n", clock(a.Raised), alertText(a))
		}
		for _, v := range one.Vitals {
			fmt.Fprintf(&b, "  %-8s  %s\n", clock(v.Time), vitalText(v))
		}
	}
	t.print(j, b.String())
}

// isTerminal reports whether people look at w.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
