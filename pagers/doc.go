// Package pagers has Pagers that reach people outside carewire by webhook,
// push, e-mail and SMS. It also has two that stand before these: a rota, which
// turns a group into the people on duty, and a chain, which falls back to the
// next way when one fails.
//
// No health data leaves unless RevealHealthData is set. A message names the
// alert by its ID, with its priority and level; the person opens the alert in
// the hospital's own application.
//
// Every Pager of this package is safe for concurrent use. Page returns nil once
// the message has been handed over, and an error that names no person, address
// or health data if it has not. Page tries again by itself until its context
// ends. In a Hub that is after Options.CallTimeout, 5 seconds by default, and not
// after the time of the level; a Chain shares that time out. For a Chain of three
// ways set CallTimeout to 15 seconds, which gives each way 5 at least. The same
// Page.Key gives the same message ID, so a receiver can drop repeats.
package pagers
