module github.com/carewire/carewire/fhir-oracle

go 1.26.0

require (
	github.com/carewire/carewire v0.1.0
	github.com/google/fhir/go v0.7.4
)

require (
	bitbucket.org/creachadair/stringset v0.0.9 // indirect
	github.com/coder/websocket v1.8.15 // indirect
	github.com/golang/protobuf v1.4.3 // indirect
	github.com/json-iterator/go v1.1.10 // indirect
	github.com/modern-go/concurrent v0.0.0-20180306012644-bacd9c7ef1dd // indirect
	github.com/modern-go/reflect2 v1.0.1 // indirect
	github.com/pkg/errors v0.9.1 // indirect
	github.com/serenize/snaker v0.0.0-20201027110005-a7ad2135616e // indirect
	golang.org/x/time v0.16.0 // indirect
	google.golang.org/protobuf v1.25.0 // indirect
)

replace github.com/carewire/carewire => ../..
