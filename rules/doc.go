// Package rules turns vitals into few, true, explained alerts.
//
// A [Set] holds the rules of a house. A [Judge] runs it on a Hub: it follows
// the log of each patient, decides for each rule whether its condition is
// present, over or cannot be judged, and raises and clears alerts. A [Case]
// judges one patient without a Hub, for tests and for trying rules on recorded
// data.
package rules
