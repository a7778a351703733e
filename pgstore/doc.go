// Package pgstore keeps the logs of carewire Hubs in a PostgreSQL schema.
package pgstore
