// Replay runs rules over recorded vitals and reports the burden of their
// alerts: how many, how long, how often again, and how much later than a plain
// limit. Each rule runs as it is, without its delay, without its hysteresis,
// and without both.
//
//	go run ./examples/replay examples/replay/data/icu-numerics-s00001n.csv
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/boltstore"
	"github.com/carewire/carewire/rules"
)

func main() {
	ruleFile := flag.String("rules", "", "a JSON file of rules; none: those of house.json")
	set := flag.String("set", "", "a set of rules written in Go, of sets.go, instead of -rules")
	asJSON := flag.Bool("json", false, "print JSON instead of a table")
	svg := flag.String("svg", "", "write a timeline to this file")
	bolt := flag.String("bolt", "", "read the history of a boltstore file, of -patients, instead of files")
	patients := flag.String("patients", "", "with -bolt: whose, with commas")
	operators := flag.Float64("operators", 1, "people who share the alerts")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "replay [flags] FILE.csv or FILE.hl7 …")
		flag.PrintDefaults()
	}
	flag.Parse()
	if err := run(*ruleFile, *set, *bolt, *patients, flag.Args(), *operators, *asJSON, *svg); err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(1)
	}
}

func run(ruleFile, set, bolt, patients string, files []string, operators float64, asJSON bool, svg string) error {
	list, err := ruleList(ruleFile, set)
	if err != nil {
		return err
	}
	var recordings []recording
	switch {
	case bolt != "":
		recordings, err = fromBolt(bolt, strings.Split(patients, ","))
	case len(files) == 0:
		return fmt.Errorf("name a CSV or HL7 file, or -bolt")
	default:
		recordings, err = fromFiles(files)
	}
	if err != nil {
		return err
	}
	report, err := replay(list, recordings, operators)
	if err != nil {
		return err
	}
	if svg != "" {
		if err := os.WriteFile(svg, timeline(report), 0o644); err != nil {
			return err
		}
	}
	if asJSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(report)
	}
	report.print(os.Stdout)
	return nil
}

// fromBolt reads the vitals of patients from a file that no other process has open.
func fromBolt(file string, patients []string) ([]recording, error) {
	store, err := boltstore.Open(file, nil)
	if err != nil {
		return nil, err
	}
	defer store.Close()
	var list []recording
	for _, p := range patients {
		r := recording{Patient: p}
		var at carewire.Position
		for {
			entries, err := store.Read(context.Background(), p, at, carewire.ReadQuery{Kinds: []carewire.Kind{carewire.KindVital}})
			if err != nil {
				return nil, err
			}
			for _, e := range entries {
				var v carewire.Vital
				if err := v.UnmarshalJSON(e.Data); err != nil {
					return nil, err
				}
				r.vitals = append(r.vitals, v)
				at = e.Position
			}
			if len(entries) == 0 {
				break
			}
		}
		list = append(list, r)
	}
	return list, nil
}

// replay judges all recordings by all rules in all variants.
func replay(list []rules.Rule, recordings []recording, operators float64) (*report, error) {
	out := &report{Operators: operators}
	for i := range recordings {
		out.add(&recordings[i])
	}
	for _, r := range list {
		for _, v := range variants(r) {
			m := measure{Rule: v.key, Variant: v.name, operators: operators}
			for i := range recordings {
				found, err := judge(v.rules, &recordings[i], v.key)
				if err != nil {
					return nil, err
				}
				m.add(&recordings[i], found)
			}
			m.finish(out)
			out.Rules = append(out.Rules, m)
		}
	}
	out.finish()
	return out, nil
}

// judge returns the findings of a rule in one recording.
func judge(set []rules.Rule, r *recording, key string) ([]rules.Transition, error) {
	s, err := rules.NewSet(set...)
	if err != nil {
		return nil, err
	}
	c := rules.NewCase(s, r.Patient, rules.Settings{Born: time.Date(1950, 1, 1, 0, 0, 0, 0, time.UTC), On: []string{key}})
	var found []rules.Transition
	for i := range r.vitals {
		c.Vital(carewire.Position{Epoch: "recorded", Seq: uint64(i + 1)}, &r.vitals[i])
		for _, t := range c.Owed() {
			if t.Rule == key && t.Kind != rules.Published {
				found = append(found, t)
			}
		}
	}
	return found, nil
}
