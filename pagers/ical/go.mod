module github.com/carewire/carewire/pagers/ical

go 1.26.0

require (
	github.com/carewire/carewire v0.1.0
	github.com/emersion/go-ical v0.0.0-20250329121855-f41e73efc392
	github.com/stretchr/testify v1.12.1
	github.com/teambition/rrule-go v1.8.2
)

require (
	github.com/coder/websocket v1.8.15 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/time v0.16.0 // indirect
)

replace github.com/carewire/carewire => ../../
