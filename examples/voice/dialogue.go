package main

import (
	"context"
	"fmt"
	"math"
	"sync"

	"github.com/carewire/carewire"
)

// measureNames are spoken; a ward has more.
var measureNames = map[string]string{carewire.HeartRate.Code: "heart rate", carewire.OxygenSaturation.Code: "oxygen saturation", carewire.RespiratoryRate.Code: "respiration"}

// A ward is the view of the person at the microphone: open alerts and newest
// numbers by bed. It is filled from the events of a carewire client.
type ward struct {
	beds map[string]int // by patient

	mu     sync.Mutex
	open   map[int]map[string]carewire.Alert // by bed and key
	newest map[int]carewire.Vital            // by bed
}

func newWard(beds map[string]int) *ward {
	return &ward{beds: beds, open: make(map[int]map[string]carewire.Alert), newest: make(map[int]carewire.Vital)}
}

// note takes an event in.
func (w *ward) note(e carewire.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case e.Alert != nil && w.beds[e.Alert.Patient] > 0:
		bed := w.beds[e.Alert.Patient]
		if w.open[bed] == nil {
			w.open[bed] = make(map[string]carewire.Alert)
		}
		if e.Alert.Open() {
			w.open[bed][e.Alert.Key] = *e.Alert
		} else {
			delete(w.open[bed], e.Alert.Key)
		}
	case e.Vital != nil && w.beds[e.Vital.Patient] > 0:
		w.newest[w.beds[e.Vital.Patient]] = *e.Vital
	}
}

// only returns the open alert of a bed if there is just one: speech cannot say
// which of two is meant.
func (w *ward) only(bed int) (a carewire.Alert, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a = range w.open[bed] {
	}
	return a, len(w.open[bed]) == 1
}

// An answerer carries out spoken commands. *carewire.Client is one.
type answerer interface {
	Answer(context.Context, carewire.AlertRef, carewire.Answer) (carewire.Alert, error)
	Raise(context.Context, carewire.Raise) (carewire.Alert, error)
}

// A dialogue is one command and its confirmation.
type dialogue struct {
	ward   *ward
	client answerer
	caller string // the patient whose room this is: a call is for them

	asked   command
	heard   Heard
	pending carewire.Alert
}

// command takes the first utterance, and returns the text to show and speak. It
// reports whether it awaits a confirmation.
func (d *dialogue) command(h Heard) (say string, awaits bool) {
	c, ok := parseCommand(h.Text)
	if !ok || !h.sure() {
		return "I did not understand that.", false
	}
	d.asked, d.heard = c, h
	switch c.verb {
	case "ask":
		d.ward.mu.Lock()
		defer d.ward.mu.Unlock()
		v, ok := d.ward.newest[c.bed]
		if !ok {
			return fmt.Sprintf("Nothing is known of bed %s.", bedNames[c.bed-1]), false
		}
		return fmt.Sprintf("Bed %s: %s %s.", bedNames[c.bed-1], measureNames[v.Code], v.Value), false
	case "call":
		return c.question(), true
	}
	if d.pending, ok = d.ward.only(c.bed); !ok {
		return fmt.Sprintf("Bed %s does not have just one open alert. Use the screen.", bedNames[c.bed-1]), false
	}
	return c.question(), true
}

// confirm takes the next utterance. Only the confirmation of the question has
// an effect, and an answer applies only to the alert as it was at the question.
func (d *dialogue) confirm(ctx context.Context, h Heard) (say string, err error) {
	if !h.sure() || h.Text != d.asked.confirmation() {
		return "Nothing was done.", nil
	}
	heard := carewire.Recognition{Kind: carewire.RecognitionSpeech, Model: recogniser, Confidence: carewire.DecimalOf(math.Round(100*d.heard.Confidence) / 100)}
	if d.asked.verb == "call" {
		_, err = d.client.Raise(ctx, carewire.Raise{Patient: d.caller, Key: "call", Text: "Nurse called", Priority: carewire.PriorityMedium, Kind: carewire.AlertAdvisory,
			Source: carewire.Source{Recognition: heard}})
		return "The nurses have been called.", err
	}
	verb := map[string]carewire.AnswerVerb{"accept": carewire.AnswerAccept, "reject": carewire.AnswerReject}[d.asked.verb]
	_, err = d.client.Answer(ctx, d.pending.Ref(), carewire.Answer{Do: verb, Source: heard, Rev: d.pending.Rev})
	return "Done.", err
}
