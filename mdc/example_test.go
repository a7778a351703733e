package mdc_test

import (
	"fmt"

	"github.com/carewire/carewire/mdc"
)

func ExampleMetricByCode() {
	m, ok := mdc.MetricByCode(147842)
	fmt.Println(m.Name, m.LOINC, ok)
	u, ok := mdc.UnitByUCUM("mm[Hg]")
	fmt.Println(u.Name, ok)
	// Output:
	// MDC_ECG_HEART_RATE 8867-4 true
	// MDC_DIM_MMHG true
}
