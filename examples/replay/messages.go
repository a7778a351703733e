package main

import (
	"fmt"
	"regexp"
	"time"

	"github.com/carewire/carewire/hl7v2"
)

// between parts the messages of a file: an empty line, with any line ending.
var between = regexp.MustCompile(`\r?\n(?:\r?\n)+`)

// fromHL7 reads a file of HL7 v2 messages, one after the other with an empty line
// between. A time without a zone is taken as UTC. The mark of test data is taken
// off, for test data are not judged.
func fromHL7(text string) ([]recording, error) {
	var list []recording
	place := map[string]int{}
	mapping := &hl7v2.Mapping{Zone: time.UTC}
	for n, part := range between.Split(text, -1) {
		if part == "" {
			continue
		}
		m, err := hl7v2.Parse([]byte(part), &hl7v2.ParseOptions{Lenient: true})
		if err != nil {
			return nil, fmt.Errorf("message %d: %w", n+1, err)
		}
		readings, _ := mapping.Readings(m, nil) // refused messages are left out
		for k, r := range readings {
			v := r.Vital
			v.Received, v.Test, v.ID = v.Time, false, fmt.Sprintf("%d.%d", n, k)
			i, known := place[v.Patient]
			if !known {
				i = len(list)
				place[v.Patient] = i
				list = append(list, recording{Patient: v.Patient})
			}
			list[i].vitals = append(list[i].vitals, v)
		}
	}
	return list, nil
}
