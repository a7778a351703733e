// Package fhir speaks HL7 FHIR R4 (4.0.1) for carewire: vitals as Observations
// and back, alerts as Flags, DetectedIssues and DeviceAlerts, notices as
// Communications, the audit trail as AuditEvents. A [Server] offers all of this
// by REST and by subscriptions beside a Hub.
//
// Decimals keep their text. Errors are a *[carewire.ValidationError] that names
// the element and never its value. Content that one side cannot express is
// listed, never dropped silently: see [VitalsOf] and [Unsaid]. docs/interop.md
// has the tables of the mappings.
package fhir
