// Voice answers alerts by speech. It recognises a command, repeats it, and
// carries it out only after a confirmation that names the bed again. It runs a
// small hospital of its own to try that on.
//
//	go run ./examples/voice                      a short scene, spoken by espeak-ng
//	go run ./examples/voice command.wav yes.wav  your own recordings of a command and its confirmation
//
// It needs Debian's pocketsphinx, pocketsphinx-en-us, espeak-ng and sox.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/carewire/carewire"
)

var beds = map[string]int{"p-2": 2, "p-4": 4}

func main() {
	mute := flag.Bool("mute", false, "show the answers, and do not speak them")
	flag.Parse()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := scene(ctx, flag.Args(), *mute); err != nil {
		log.Fatal(err)
	}
}

// scene runs the hospital, and one dialogue for each pair of recordings.
func scene(ctx context.Context, recordings []string, mute bool) error {
	client, shown, stop, err := hospital(ctx)
	if err != nil {
		return err
	}
	defer stop()
	if len(recordings) == 0 {
		dir, err := os.MkdirTemp("", "carewire-voice")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		for i, text := range []string{"accept bed four", "confirm bed four", "what is bed two", "cancel that", "call a nurse", "confirm the call"} {
			wav := filepath.Join(dir, fmt.Sprint(i, ".wav"))
			if err := speak(ctx, text, "en-us+f5", 135, wav); err != nil {
				return err
			}
			recordings = append(recordings, wav)
		}
	}
	if len(recordings)%2 != 0 {
		return errors.New("voice: name recordings in pairs: a command and its confirmation")
	}
	for i := 0; i < len(recordings); i += 2 {
		if err := talk(ctx, &dialogue{ward: shown, client: client, caller: "p-4"}, recordings[i], recordings[i+1], mute); err != nil {
			return err
		}
	}
	return nil
}

// talk hears a command and, if one is awaited, its confirmation.
func talk(ctx context.Context, d *dialogue, command, confirmation string, mute bool) error {
	reply := func(text string) error {
		fmt.Println("  <", text)
		if mute {
			return nil
		}
		return run(ctx, "espeak-ng", "-v", "en-us", text)
	}
	heard, err := recognise(ctx, commandGrammar, []string{command})
	if err != nil {
		return err
	}
	fmt.Printf("  > %s (confidence %.2f)\n", heard[0].Text, heard[0].Confidence)
	say, awaits := d.command(heard[0])
	if err := reply(say); err != nil || !awaits {
		return err
	}
	if heard, err = recognise(ctx, confirmGrammar, []string{confirmation}); err != nil {
		return err
	}
	fmt.Printf("  > %s (confidence %.2f)\n", heard[0].Text, heard[0].Confidence)
	if say, err = d.confirm(ctx, heard[0]); err != nil {
		return err
	}
	return reply(say)
}

// hospital runs a Hub with two beds on loopback, and returns a nurse's client
// and her view.
func hospital(ctx context.Context) (*carewire.Client, *ward, func(), error) {
	nurse := carewire.Principal{ID: "ada", Name: "Nurse Ada", Role: carewire.RoleClinician, Patients: []string{"p-2", "p-4"}}
	auth := carewire.AuthenticatorFunc(func(r *http.Request) (carewire.Principal, error) {
		if carewire.Token(r) != "nurse" {
			return carewire.Principal{}, carewire.ErrUnauthenticated
		}
		return nurse, nil
	})
	hub, err := carewire.New(auth, carewire.NewMemoryStore(nil), nil)
	if err != nil {
		return nil, nil, nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, nil, err
	}
	server := &http.Server{Handler: hub, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10, ConnState: new(carewire.Arrivals).ConnState}
	go server.Serve(l)
	stop := func() { hub.Shutdown(ctx); server.Close() }
	_, err1 := hub.Publish(ctx, carewire.HeartRate.Of("p-2", 72), carewire.OxygenSaturation.Of("p-4", 84))
	_, err2 := hub.Raise(ctx, carewire.Raise{Patient: "p-4", Key: "spo2", Text: "SpO2 84 % < 90 %", Priority: carewire.PriorityHigh})
	client, err3 := carewire.Dial(ctx, "ws://"+l.Addr().String(), &carewire.DialOptions{Token: func(context.Context) (string, error) { return "nurse", nil }})
	if err := errors.Join(err1, err2, err3); err != nil {
		stop()
		return nil, nil, nil, err
	}
	shown := newWard(beds)
	live := make(chan error, 1)
	go func() {
		synced := 0
		for e, err := range client.Events(ctx) {
			if err != nil {
				live <- err
				return
			}
			shown.note(e)
			if e.Type == carewire.EventSynced {
				if synced++; synced == len(beds) {
					live <- nil
				}
			}
		}
	}()
	if _, err := client.Watch(ctx, carewire.WatchOptions{Patients: nurse.Patients}); err != nil {
		stop()
		return nil, nil, nil, err
	}
	return client, shown, func() { client.Close(); stop() }, <-live
}
