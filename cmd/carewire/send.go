package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/carewire/carewire"
)

// publish sends vitals, from arguments or, for the patient "-", from lines of
// JSON.
func (t *tool) publish(ctx context.Context, args []string) error {
	device := t.flags.String("device", "", "the ID of the device that has measured")
	site := t.flags.String("site", "", "where on the body")
	test := t.flags.Bool("test", false, "it is test data")
	every := t.flags.Duration("every", 0, "the next one comes within this `time`, or the host tells of the silence")
	t.flags.Usage = func() {
		fmt.Fprintf(t.err, "usage: carewire publish [flags] PATIENT NAME=VALUE...\n       carewire publish < FILE\nsend vitals.\n")
		t.flags.PrintDefaults()
		fmt.Fprintf(t.err, "\nNAME is one of %s, or a code of LOINC.\nVALUE is a number, with a unit of UCUM where it is not the usual one: temperature=98.6[degF]\n"+
			"Without arguments, vitals are read as lines of JSON, as docs/protocol.md has them.\n", measureNames())
	}
	rest, err := t.parse(args, 0, -1)
	if err != nil {
		return err
	}
	if len(rest) == 0 {
		return t.publishLines(ctx)
	}
	if len(rest) == 1 {
		return t.misuse("name a value, such as heart-rate=72")
	}
	var vitals []carewire.Vital
	for _, text := range rest[1:] {
		v, err := vital(rest[0], text)
		if err != nil {
			return fmt.Errorf("%s %w", text, err)
		}
		v.Time, v.Device, v.Site, v.Test, v.Every = time.Now(), *device, *site, *test, *every
		vitals = append(vitals, v)
	}
	c, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return t.send(ctx, c, vitals)
}

// publishLines sends each line of the input.
func (t *tool) publishLines(ctx context.Context) error {
	c, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return vitalLines(t.in, func(v carewire.Vital) error {
		return t.send(ctx, c, []carewire.Vital{v})
	})
}

type publishedJSON struct {
	Patient  string `json:"patient"`
	Code     string `json:"code"`
	Seq      uint64 `json:"seq,omitempty"`
	Repeated bool   `json:"repeated,omitempty"`
	Error    string `json:"error,omitempty"`
}

// send publishes vitals and prints the result of each.
func (t *tool) send(ctx context.Context, c *carewire.Client, vitals []carewire.Vital) error {
	within, cancel := call(ctx)
	defer cancel()
	results, err := c.Publish(within, vitals...)
	failed := false
	for i, r := range results {
		v := vitals[i]
		j := publishedJSON{Patient: v.Patient, Code: v.Code, Seq: r.Seq, Repeated: r.Repeated}
		line := fmt.Sprintf("%s: %s: taken as number %d", clean(v.Patient), vitalText(&v), r.Seq)
		if r.Err != nil {
			failed = true
			j.Error = explain(r.Err)
			line = fmt.Sprintf("%s: %s: REFUSED: %s", clean(v.Patient), vitalText(&v), j.Error)
		} else if r.Repeated {
			line += ", as before"
		}
		t.print(j, line)
	}
	if err == nil && failed {
		err = errSaid
	}
	return err
}

// vitalLines calls f with the vital of each line: one by itself, or an event
// that holds one. Other events are left out.
func vitalLines(in interface{ Read([]byte) (int, error) }, f func(carewire.Vital) error) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		if len(lines.Bytes()) == 0 {
			continue
		}
		var event struct {
			Type  carewire.EventType `json:"type"`
			Vital *carewire.Vital    `json:"vital"`
		}
		var v carewire.Vital
		err := json.Unmarshal(lines.Bytes(), &event)
		switch {
		case err == nil && event.Vital != nil:
			v = *event.Vital
		case err == nil && event.Type != "":
			continue
		case err == nil:
			err = json.Unmarshal(lines.Bytes(), &v)
		}
		if err == nil {
			err = v.Validate()
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, withoutValue(err))
		}
		if err := f(v); err != nil {
			return err
		}
	}
	return lines.Err()
}

// withoutValue removes a value that encoding/json quotes, which may be health
// data, from an error.
func withoutValue(err error) error {
	var invalid *carewire.ValidationError
	if errors.As(err, &invalid) {
		return invalid
	}
	return errors.New("is not a vital or an event as JSON")
}

// raise raises an alert.
func (t *tool) raise(ctx context.Context, args []string) error {
	r := carewire.Raise{Priority: carewire.PriorityMedium}
	t.flags.StringVar(&r.Key, "key", "", "names the condition: raising it again updates the alert; without one it is new each time")
	t.flags.StringVar((*string)(&r.Priority), "priority", string(r.Priority), "high, medium, low or info")
	t.flags.StringVar((*string)(&r.Kind), "kind", string(carewire.AlertPhysiological), "physiological, technical or advisory")
	t.flags.StringVar(&r.Code, "code", "", "a code for the condition")
	t.flags.Var((*list)(&r.To), "to", "whom it is `addressed` to, as person:ID, group:ID or role:NAME; may be given several times")
	t.flags.BoolVar(&r.Test, "test", false, "it is a drill")
	rest, err := t.parse(args, 2, 2)
	if err != nil {
		return err
	}
	r.Patient, r.Text = rest[0], rest[1]
	if err := r.Validate(); err != nil {
		return err
	}
	return t.alert(ctx, func(ctx context.Context, c *carewire.Client) (carewire.Alert, error) { return c.Raise(ctx, r) })
}

// clear says that an alert's condition is over.
func (t *tool) clear(ctx context.Context, args []string) error {
	ref := t.reference()
	rest, err := t.parse(args, 2, 2)
	if err != nil {
		return err
	}
	ref.Patient, ref.Key = rest[0], rest[1]
	return t.alert(ctx, func(ctx context.Context, c *carewire.Client) (carewire.Alert, error) {
		if err := find(ctx, c, ref); err != nil {
			return carewire.Alert{}, err
		}
		return c.Clear(ctx, *ref)
	})
}

// answer sends a person's answer to an alert.
func (t *tool) answer(ctx context.Context, args []string) error {
	ref := t.reference()
	var a carewire.Answer
	t.flags.StringVar(&a.To, "to", "", "assign and handover: person:ID, group:ID or role:NAME")
	t.flags.DurationVar(&a.For, "for", 0, "accept: how long it holds; 0: as the host has it")
	t.flags.StringVar(&a.Reason, "reason", "", "why")
	t.flags.BoolVar(&a.Force, "force", false, "accept an alert that a colleague has, or close one that is still present; needs -reason")
	rest, err := t.parse(args, 3, 3)
	if err != nil {
		return err
	}
	ref.Patient, ref.Key, a.Do = rest[0], rest[1], carewire.AnswerVerb(rest[2])
	switch a.Do {
	case carewire.AnswerAccept, carewire.AnswerReject, carewire.AnswerRelease, carewire.AnswerAssign, carewire.AnswerHandover, carewire.AnswerClose:
	default:
		return t.misuse("VERB must be accept, reject, release, assign, handover or close")
	}
	return t.alert(ctx, func(ctx context.Context, c *carewire.Client) (carewire.Alert, error) {
		if err := find(ctx, c, ref); err != nil {
			return carewire.Alert{}, err
		}
		return c.Answer(ctx, *ref, a)
	})
}

func (t *tool) reference() *carewire.AlertRef {
	var ref carewire.AlertRef
	t.flags.StringVar(&ref.ID, "id", "", "the occurrence; without it, the one that is open")
	t.flags.BoolVar(&ref.Test, "test", false, "the drill of that key")
	return &ref
}

// alert connects, does something and prints the alert as it is then.
func (t *tool) alert(ctx context.Context, do func(context.Context, *carewire.Client) (carewire.Alert, error)) error {
	c, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	within, cancel := call(ctx)
	defer cancel()
	a, err := do(within, c)
	if err != nil {
		return err
	}
	t.print(&a, fmt.Sprintf("%s  %s", clean(a.Patient), alertText(&a)))
	return nil
}

// find sets ref.ID to the occurrence that is open, unless it is set.
func find(ctx context.Context, c *carewire.Client, ref *carewire.AlertRef) error {
	if ref.ID != "" {
		return nil
	}
	result, err := c.Watch(ctx, carewire.WatchOptions{Patients: []string{ref.Patient}, Delivery: carewire.DeliverAlerts})
	if err != nil {
		return err
	}
	if len(result.Refused) > 0 {
		return &carewire.RequestError{Code: result.Refused[0].Code}
	}
	for ev, err := range c.Events(ctx) {
		switch {
		case err != nil:
			return err
		case ev.Type == carewire.EventAlert && ev.Patient == ref.Patient && ev.Alert.Key == ref.Key && ev.Alert.Test == ref.Test && ev.Alert.Open():
			ref.ID = ev.Alert.ID
		case ev.Type == carewire.EventSynced && ev.Patient == ref.Patient:
			if ref.ID == "" {
				return errors.New("no alert with this key is open")
			}
			return nil
		}
	}
	return ctx.Err()
}
