package ble_test

import (
	"fmt"

	"github.com/carewire/carewire/ble"
)

// A heart-rate strap notifies two bytes: flags, and 72 beats a minute.
func ExampleSource_Decode() {
	vitals, err := ble.Source{Patient: "p-17", Device: "strap-3"}.Decode(ble.HeartRate, []byte{0, 72})
	fmt.Println(vitals[0].Code, vitals[0].Value, vitals[0].Unit, err)
	// Output:
	// 8867-4 72 /min <nil>
}
