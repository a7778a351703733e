package hl7v2_test

import (
	"fmt"
	"strings"

	"github.com/carewire/carewire/hl7v2"
)

// A message becomes vitals by the tables of docs/interop.md.
func ExampleMapping() {
	text := strings.Join([]string{
		`MSH|^~\&|MONITOR|ICU|CAREWIRE|EHR|20260101080000+0000||ORU^R01^ORU_R01|42|P|2.6`,
		`PID|||p-17^^^HOSPITAL^MR`,
		`OBR|1|||182777000^monitoring of patient^SCT|||20260101080000+0000`,
		`OBX|1|NM|147842^MDC_ECG_HEART_RATE^MDC|1|72|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||F`,
	}, "\r")
	m, err := hl7v2.Parse([]byte(text), nil)
	if err != nil {
		panic(err)
	}
	readings, errs := new(hl7v2.Mapping).Readings(m, hl7v2.FirstIdentifier)
	fmt.Println(m.ControlID(), len(errs))
	for _, r := range readings {
		fmt.Println(r.Vital.Patient, r.Vital.Code, r.Vital.Value, r.Vital.Unit)
	}
	// Output:
	// 42 0
	// p-17 8867-4 72 /min
}
