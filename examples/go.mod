module github.com/carewire/carewire/examples

go 1.26.0

replace (
	github.com/carewire/carewire => ../
	github.com/carewire/carewire/boltstore => ../boltstore
)

require (
	github.com/carewire/carewire v0.0.0
	github.com/carewire/carewire/boltstore v0.0.0
)

require (
	github.com/coder/websocket v1.8.15 // indirect
	go.etcd.io/bbolt v1.5.0 // indirect
	golang.org/x/sys v0.45.0 // indirect
	golang.org/x/time v0.16.0 // indirect
)
