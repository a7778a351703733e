// Package carewire gives a health-care backend live remote monitoring and
// real-time notification over WebSocket: clinicians watch vital signs as they
// are measured, alerts reach a person who answers for them, patients report
// how they are and receive notices.
//
// A host makes a [Hub] from an [Authenticator], which says who is calling, and
// a [Store], which keeps every event, and mounts it as an http.Handler:
//
//	hub, err := carewire.New(auth, store, nil)
//	mux.Handle("/carewire", hub)
//
// Devices, patients and staff connect with any WebSocket client that speaks
// carewire.v1 (docs/protocol.md), or with [Dial]. The host calls the same Hub:
// [Hub.Publish], [Hub.Raise], [Hub.Clear], [Hub.Answer], [Hub.Notify],
// [Hub.Watch].
//
// # What is promised
//
// An event is in the Store before anybody is told of it, its sender included.
// Per patient, everybody sees events in the same order. To a slow client a
// newer vital may replace an older one of the same kind; alerts, notices and
// receipts are never left out, and after an interruption a client gets exactly
// what it has missed, or is told that it has to start afresh. An alert is
// escalated, across restarts, until a person accepts it or it is over.
//
// # What it is not
//
// carewire informs people about alarm conditions; it is not a certified alarm
// system and must not be the only alarm for any patient.
package carewire
