// Package pagers has Pagers that tell people beyond carewire: by webhook, push,
// e-mail and SMS. It also has what stands between a Hub and them: a rota that
// turns a group into the people on duty, and a chain that falls back to the
// next way when one fails.
//
// No health data leaves unless RevealHealthData is set. A message names the
// alert by its ID, with its priority and level; the person opens the alert in
// the hospital's own application.
//
// Every Pager of this package is safe for concurrent use. Page returns nil once
// the message has been handed over, and an error that names no person, address
// or health data if it has not. Page tries again by itself until its context
// ends. The same Page.Key gives the same message ID, so a receiver can drop
// repeats.
package pagers
