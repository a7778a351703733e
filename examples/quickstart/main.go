// Quickstart is the shortest complete host: it knows two people, keeps events
// in memory, publishes a heart rate each second, and serves a page that shows it.
package main

import (
	"context"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/carewire/carewire"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address to listen on")
	flag.Parse()
	hub, err := carewire.New(carewire.AuthenticatorFunc(authenticate), carewire.NewMemoryStore(nil), nil)
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/carewire", hub)
	go func() {
		for range time.Tick(time.Second) {
			hub.Publish(context.Background(), carewire.HeartRate.Of("p-17", 72))
		}
	}()
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, page) })
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("open http://%s/", listener.Addr())
	server := http.Server{ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	log.Fatal(server.Serve(listener))
}

var people = map[string]carewire.Principal{ // by bearer token
	"nurse-token":   {ID: "ada", Name: "Nurse Ada", Role: carewire.RoleClinician, Patients: []string{"p-17"}},
	"monitor-token": {ID: "monitor-4", Role: carewire.RoleDevice, Patients: []string{"p-17"}},
}

func authenticate(r *http.Request) (carewire.Principal, error) {
	if p, ok := people[carewire.Token(r)]; ok {
		return p, nil
	}
	return carewire.Principal{}, carewire.ErrUnauthenticated
}

const page = `<!doctype html><meta charset="utf-8"><title>p-17</title><h1>p-17: <output>…</output> /min</h1><script type="module">
const ws = new WebSocket(location.origin.replace("http", "ws") + "/carewire", ["carewire.v1", "carewire.bearer.bnVyc2UtdG9rZW4"]); // nurse-token
ws.onopen = () => ws.send(JSON.stringify({type: "watch", req: "1", patients: ["p-17"]}));
ws.onmessage = (m) => { const f = JSON.parse(m.data); if (f.vital) document.querySelector("output").value = f.vital.value; };
</script>`
