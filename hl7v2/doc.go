// Package hl7v2 connects systems that speak HL7 version 2 with carewire:
// patient monitors and their gateways (IHE PCD-01), admission systems, and
// alarm managers (IHE PCD-04).
//
// [Parse] reads a message, strictly or leniently. [Server] receives messages by
// MLLP and gives vitals to a Hub. [Client] sends messages and waits for the
// right acknowledgement. [Reporter] writes alerts as ORU^R40.
//
// docs/interop.md has the mappings and their losses.
package hl7v2
