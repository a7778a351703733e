// Command clients has the six tasks of docs/clients.md in Go.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/carewire/carewire"
)

var patient = os.Getenv("PATIENT")

func freshToken(ctx context.Context) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, os.Getenv("TOKEN_URL"), nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	token, err := io.ReadAll(resp.Body)
	return string(token), err
}

func main() {
	ctx := context.Background()
	client, err := carewire.Dial(ctx, os.Getenv("CAREWIRE_URL"), &carewire.DialOptions{Token: freshToken})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	if _, err := client.Watch(ctx, carewire.WatchOptions{Patients: []string{patient}, Waves: []string{"131330"}}); err != nil {
		log.Fatal(err)
	}
	go work(ctx, client)
	for ev, err := range client.Events(ctx) {
		switch {
		case err != nil:
			log.Fatal(err)
		case ev.Type == carewire.EventSync && !ev.Recovered: // forget the held state: all of it comes again
		case ev.Type == carewire.EventVital:
			fmt.Println("vital", ev.Vital.Code, ev.Vital.Value)
		case ev.Type == carewire.EventWave:
			show(ev.Wave)
		case ev.Type == carewire.EventAlert:
			go accept(ctx, client, ev.Alert)
		}
	}
}

var last *carewire.Wave

func show(w *carewire.Wave) {
	if last != nil && !w.Follows(last) {
		fmt.Println("gap")
	}
	fmt.Println("wave", w.Code, w.Number, len(w.Samples)) // w.Value(w.Samples[0]) is in w.Unit
	last = w
}

func work(ctx context.Context, client *carewire.Client) {
	vital := carewire.BodyTemperature.Of(patient, 37)
	vital.ID, vital.Time, vital.Value = rand.Text(), time.Now(), "37.0"
	err := again(ctx, func() error { _, err := client.Publish(ctx, vital); return err })
	fmt.Println("published", said(err))

	notice := carewire.Notice{Patient: patient, ID: rand.Text(), To: []string{"group:ward-5"}, Text: "Blood is taken."}
	err = again(ctx, func() error { _, err := client.Notify(ctx, notice); return err })
	fmt.Println("notice", said(err))
}

func accept(ctx context.Context, client *carewire.Client, a *carewire.Alert) {
	if !a.Ended.IsZero() || a.Responsibility.State != carewire.ResponsibilityUndefined {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second) // nobody waits longer
	defer cancel()
	answer := carewire.Answer{Do: carewire.AnswerAccept, ID: rand.Text(), Rev: a.Rev, Reason: "on my way"}
	err := again(ctx, func() error { _, err := client.Answer(ctx, a.Ref(), answer); return err })
	fmt.Println("accept", said(err))
}

// again calls f until its outcome is known. Each request that it sends has an
// ID, so that it happens once.
func again(ctx context.Context, f func() error) error {
	for {
		err := f()
		later := errors.Is(err, carewire.ErrUnknownOutcome) || errors.Is(err, carewire.ErrUnavailable) || errors.Is(err, carewire.ErrBusy) || errors.Is(err, carewire.ErrFull)
		if !later {
			return err
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return err
		}
	}
}

func said(err error) string {
	if err != nil {
		return err.Error()
	}
	return "done"
}
