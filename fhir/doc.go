// Package fhir speaks HL7 FHIR R4 (4.0.1) for carewire: vitals as Observations
// and back, alerts as Flags, DetectedIssues and DeviceAlerts, notices as
// Communications, the audit trail as AuditEvents, and a [Server] that offers all
// of this by REST and by subscriptions beside a Hub.
//
// Decimals keep the text that they were written with. Errors are a
// *[carewire.ValidationError] that names the element and never its value. What
// one side cannot say is listed, never dropped silently: see [VitalsOf] and
// [Unsaid]. docs/interop.md has the tables of what maps to what.
package fhir
