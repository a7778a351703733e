// Vision raises an alert when somebody has left the bed. A camera program finds
// the person, with a confidence. carewire gets numbers only, and a rule judges
// them. The picture never leaves the camera program.
//
//	go run ./examples/vision           a scene in which a patient gets up, drawn
//	go run ./examples/vision returns   another: see draw.py
//
// It needs Debian's python3-opencv.
package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/exec"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/rules"
)

const (
	system = "urn:carewire:example"
	code   = "bed-exit" // a number from 0 (in bed) to 1 (has left it)
	zone   = "bed-zone" // where the person is: bed, edge, floor or nobody, which is nowhere

	model, modelVersion = "bedexit.py", "1"
	frameEvery          = 500 * time.Millisecond
	persistence         = 5 * time.Second
)

// A sight is the camera program's result for one frame.
type sight struct {
	Where   string  `json:"where"`
	Out     float64 `json:"out"`
	Unknown string  `json:"unknown"`
}

// vitals make typed events of a sight: where the person is, and how sure it is
// that they have left the bed. A value that cannot be seen is absent, not zero.
func (s sight) vitals(patient string, at time.Time) []carewire.Vital {
	where := carewire.Vital{Patient: patient, Code: zone, System: system, Time: at, Every: 5 * time.Second}
	out := where
	if out.Code = code; s.Unknown != "" {
		where.Absent, out.Absent = carewire.AbsentUnknown, carewire.AbsentUnknown
	} else {
		where.Coded = &carewire.Coding{System: system, Code: s.Where}
		out.Value, out.Unit = carewire.DecimalOf(s.Out), "1"
	}
	return []carewire.Vital{where, out}
}

// bedExit is the rule: sure by three quarters, for five seconds.
func bedExit() rules.Func {
	return rules.Func{
		About:         rules.About{Key: "bed-exit", Text: "Has left the bed", Priority: carewire.PriorityMedium},
		Timing:        rules.Timing{Delay: persistence, Clear: 2 * time.Second},
		Model:         model,
		ModelVersion:  modelVersion,
		Recognises:    carewire.RecognitionImage,
		Inputs:        []rules.Input{{Code: zone, System: system}, {Code: code, System: system}},
		Window:        2 * frameEvery,
		MinConfidence: 0.75,
		Judge: func(_ context.Context, vitals []carewire.Vital) (rules.Finding, error) {
			newest := map[string]carewire.Vital{}
			for _, v := range vitals {
				newest[v.Code] = v
			}
			where, out := newest[zone], newest[code]
			if where.Coded == nil || out.Value == "" {
				return rules.Finding{Unknown: "the camera cannot see who is in bed"}, nil
			}
			sure := out.Value.Float64()
			return rules.Finding{Present: sure >= 0.5, Confidence: sure, Text: "zone: " + where.Coded.Code}, nil
		},
	}
}

// The camera program and the scenes that it can look at are part of this one, so
// that it finds them wherever it is started.
var (
	//go:embed bedexit.py
	bedexitPy string
	//go:embed draw.py
	drawPy string
)

// start makes the module draw of the first argument, and runs the second.
const start = `
import sys, types
draw = types.ModuleType("draw")
exec(sys.argv.pop(1), draw.__dict__)
sys.modules["draw"] = draw
exec(sys.argv.pop(1))
`

// camera runs the camera program on drawn scenes, such as "leaves:1", and calls
// seen for each frame.
func camera(ctx context.Context, scenes []string, seen func(sight) error) error {
	cmd := exec.CommandContext(ctx, "/usr/bin/python3", append([]string{"-c", start, drawPy, bedexitPy, "draw"}, scenes...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer cmd.Wait()
	defer cmd.Cancel()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var s sight
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return err
		}
		if err := seen(s); err != nil {
			return err
		}
	}
	return lines.Err()
}

func main() {
	flag.Parse()
	scene := "leaves"
	if flag.NArg() > 0 {
		scene = flag.Arg(0)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := run(ctx, scene); err != nil {
		log.Fatal(err)
	}
}

// run publishes the camera's findings in real time, and prints the alerts raised.
func run(ctx context.Context, scene string) error {
	nobody := carewire.AuthenticatorFunc(func(*http.Request) (carewire.Principal, error) {
		return carewire.Principal{}, carewire.ErrUnauthenticated
	})
	hub, err := carewire.New(nobody, carewire.NewMemoryStore(nil), nil)
	if err != nil {
		return err
	}
	defer hub.Shutdown(ctx)
	set, err := rules.NewSet(bedExit())
	if err != nil {
		return err
	}
	judge, err := rules.New(hub, set, &rules.Options{Patients: func(context.Context) ([]string, error) { return []string{"p-1"}, nil }})
	if err != nil {
		return err
	}
	go judge.Run(ctx)
	go func() {
		for e, err := range hub.Watch(ctx, carewire.WatchOptions{Patients: []string{"p-1"}}) {
			if err == nil && e.Alert != nil {
				r := e.Alert.Source.Recognition
				fmt.Printf("alert %q is %s, as %s has seen, confidence %s\n", e.Alert.Text, e.Alert.Condition, r.Model, r.Confidence)
			}
		}
	}()
	frames := time.NewTicker(frameEvery)
	defer frames.Stop()
	return camera(ctx, []string{scene + ":1"}, func(s sight) error {
		<-frames.C
		fmt.Printf("%+v\n", s)
		_, err := hub.Publish(ctx, s.vitals("p-1", time.Now())...)
		return err
	})
}
