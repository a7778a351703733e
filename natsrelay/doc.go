// Package natsrelay carries messages between the Hubs on one Store over NATS. It
// uses core NATS only: nothing is stored there, and the Hubs read lost entries from the Store.
package natsrelay
