package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/boltstore"
	"github.com/carewire/carewire/pgstore"
	"github.com/carewire/carewire/spread"
)

// carewireHost is a Hub as a host would have it.
type carewireHost struct {
	*carewire.Hub
}

func newCarewire(s settings) (contender, error) {
	store, err := openStore(s)
	if err != nil {
		return nil, err
	}
	hub, err := carewire.New(carewire.AuthenticatorFunc(authenticate), store, &carewire.Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	return &carewireHost{hub}, err
}

func openStore(s settings) (carewire.Store, error) {
	switch {
	case strings.HasPrefix(s.Contender, "carewire-spread-"):
		var members []spread.Member
		for i, dsn := range append([]string{s.DSN}, s.More...) {
			one, err := openPostgres(dsn, false)
			if err != nil {
				return nil, err
			}
			members = append(members, spread.Member{Name: fmt.Sprint(i), Store: one})
		}
		return spread.Open(context.Background(), members, nil)
	case s.DSN != "":
		return openPostgres(s.DSN, strings.HasSuffix(s.Contender, "-polling"))
	case s.Contender == "carewire-boltstore":
		return boltstore.Open(filepath.Join(s.Dir, "log"), nil)
	}
	return carewire.NewMemoryStore(nil), nil
}

func openPostgres(dsn string, polling bool) (carewire.Store, error) {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, dsn)
	if err != nil {
		return nil, err
	}
	if err := pgstore.Migrate(ctx, pool, ""); err != nil {
		return nil, err
	}
	return pgstore.Open(ctx, pool, &pgstore.Options{NoListen: polling, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
}

// authenticate reads tokens of the form ROLE.ID.FIRST.COUNT: the caller has the
// rights of the role for COUNT patients from the FIRST on.
func authenticate(r *http.Request) (carewire.Principal, error) {
	var id, first, count int
	role, rest, _ := strings.Cut(carewire.Token(r), ".")
	if _, err := fmt.Sscanf(rest, "%d.%d.%d", &id, &first, &count); err != nil {
		return carewire.Principal{}, carewire.ErrUnauthenticated
	}
	p := carewire.Principal{ID: fmt.Sprintf("%s-%d", role, id), Role: carewire.Role(role)}
	for i := range count {
		p.Patients = append(p.Patients, patientID(first+i))
	}
	return p, nil
}

func patientID(n int) string { return fmt.Sprintf("p-%d", n) }

// publish hands all events to the Hub in one call, as a gateway would that has
// that many: the Hub then appends and delivers them in batches.
func (c *carewireHost) publish(patient, first, n int, at time.Time) error {
	list := make([]carewire.Vital, n)
	for i := range list {
		list[i] = vital(patient, first+i, at)
	}
	_, err := c.Publish(context.Background(), list...)
	return err
}

// spread publishes events of patients in turn: event i is that of patient i
// modulo patients, as its number i/patients+1.
func (c *carewireHost) spread(patients, first, n int) error {
	list := make([]carewire.Vital, n)
	for i := range list {
		list[i] = vital((first+i)%patients, (first+i)/patients+1, time.Now())
	}
	_, err := c.Publish(context.Background(), list...)
	return err
}

// raise raises an alert that stays open and of which nobody is paged.
func (c *carewireHost) raise(patient, number int) error {
	_, err := c.Raise(context.Background(), carewire.Raise{Patient: patientID(patient), ID: eventID(patient, number, time.Now()),
		Text: "Low oxygen saturation", Priority: carewire.PriorityInfo})
	return err
}

func vital(patient, number int, at time.Time) carewire.Vital {
	v := carewire.HeartRate.Of(patientID(patient), 72)
	v.ID = eventID(patient, number, at)
	return v
}

var carewireDialect = dialect{
	header: func(client, patients int) string {
		return carewireHeader("clinician", client, 0, max(patients, 1))
	},
	hello: func(client, patients int) []string { return watchRequests(0, patients, carewire.DeliverEvery) },
	ready: `"type":"synced"`, each: true,
	watch: func(first, count int) []string { return watchRequests(first, count, carewire.DeliverEvery) },
	send:  publishRequest, accepted: accepted,
}

func carewireHeader(role string, client, first, count int) string {
	return fmt.Sprintf("Sec-WebSocket-Protocol: %s\r\nAuthorization: Bearer %s.%d.%d.%d\r\n", carewire.Protocol, role, client, first, count)
}

func watchRequests(first, count int, delivery carewire.Delivery) []string {
	if count == 0 {
		return nil
	}
	names := make([]string, count)
	for i := range names {
		names[i] = `"` + patientID(first+i) + `"`
	}
	return []string{fmt.Sprintf(`{"type":"watch","req":"1","patients":[%s],"delivery":"%s"}`, strings.Join(names, ","), cmp.Or(delivery, carewire.DeliverLatest))}
}
