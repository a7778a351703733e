// Package carewire gives a health-care backend live remote monitoring and
// real-time notification over WebSocket. Clinicians watch vital signs as they
// are measured. Alerts escalate until a person accepts responsibility. Patients
// report how they feel and receive notices.
//
// A host makes a [Hub] from an [Authenticator], which identifies callers, and a
// [Store], which keeps every event. The Hub is an http.Handler:
//
//	hub, err := carewire.New(auth, store, nil)
//	mux.Handle("/carewire", hub)
//
// Devices, patients and staff connect with [Dial], or with any WebSocket client
// that speaks carewire.v1 (docs/protocol.md). The host calls the Hub directly:
// [Hub.Publish], [Hub.Raise], [Hub.Clear], [Hub.Answer], [Hub.Notify],
// [Hub.Watch].
//
// # Guarantees
//
// An event is in the Store before any client learns of it, its sender included.
// All clients see a patient's events in the same order. For a slow client, a
// newer vital may replace an older one of the same key. Alerts, notices and
// receipts are never dropped. After an interruption a client gets exactly the
// events that it missed, or is told to start from a snapshot. An alert is escalated,
// across restarts, until a person accepts it or it ends.
//
// # Names by purpose
//
//   - The Hub of a host: [New], [Hub], [Options], [Stats].
//   - Events: [Vital], [Measure], [Panel], [Raise], [Alert], [Answer], [Notice],
//     [Receipt], [Wave], [Strip].
//   - People and their rights: [Authenticator], [Principal], [Authorizer],
//     [Directory], [Revocation], [Auditor], [Record].
//   - Escalation: [Policy], [Step], [Pager], [PageReporter].
//   - Clients: [Dial], [Client], [Event], [WatchOptions].
//   - Stores and nodes: [Store], [Entry], [MemoryStore], [Relay], and the
//     optional interfaces [Waker], [Sizer], [Pruner], [Eraser], [StateReader],
//     [Durable], [Clock], [Checker], [Spread].
//
// # What it is not
//
// carewire informs people about alarm conditions. It is not a certified alarm
// system and must not be the only alarm for any patient.
package carewire
