// Package rules turns vitals into few, true, explained alerts.
//
// A [Set] holds the rules of a house. A [Judge] runs it on a Hub: for each
// patient it follows the log, says of each rule whether it is present, over or
// cannot be judged, and raises and clears alerts. A [Case] is the judging
// itself, one patient at a time, without a Hub: for tests, and for trying rules
// out on recorded data.
package rules
