package main

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/hl7v2"
)

// manager is the hospital's alarm manager, which brings alerts to people's
// phones. It gets each alert by IHE PCD-04, and reports the result.
type manager struct {
	hub      *carewire.Hub
	client   *hl7v2.Client
	reporter *hl7v2.Reporter

	mu       sync.Mutex
	followed map[string]context.CancelFunc // by patient
	wg       sync.WaitGroup
}

// newManager returns the manager at addr, which is reached when it is first needed.
func newManager(addr string, log *slog.Logger) (*manager, error) {
	var dialer net.Dialer
	dial := func(ctx context.Context) (net.Conn, error) { return dialer.DialContext(ctx, "tcp", addr) }
	client, err := hl7v2.NewClient(hl7v2.ClientOptions{Dial: dial, Logger: log})
	if err != nil {
		return nil, err
	}
	reporter := &hl7v2.Reporter{Client: client, Reports: true, Logger: log}
	return &manager{client: client, reporter: reporter, followed: make(map[string]context.CancelFunc)}, nil
}

// policy addresses each alert to everyone; the manager chooses the people.
func policy(context.Context, carewire.Alert, int) (carewire.Step, error) {
	return carewire.Step{To: []string{"group:" + everyone}, After: time.Minute}, nil
}

// follow sends a patient's alerts to the manager.
func (m *manager) follow(patient string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.followed[patient] != nil {
		return
	}
	ctx, end := context.WithCancel(context.Background())
	m.followed[patient] = end
	m.wg.Go(func() { _ = m.reporter.Follow(ctx, m.hub, carewire.WatchOptions{Patients: []string{patient}}) })
}

// status reads the manager's report on a page. The fields are this manager's
// own: OBX-5 is the outcome, OBX-16 the person.
func (m *manager) status(ctx context.Context, message *hl7v2.Message) error {
	obx := message.Segment("OBX")
	return m.reporter.Report(ctx, m.hub, hl7v2.Status{
		Page:    message.Segment("OBR").Field(2).Component(1).String(),
		Message: message.Segment("MSA").Field(2).String(),
		Outcome: carewire.PageOutcome(obx.Field(5).String()),
		By:      users[obx.Field(16).Component(1).String()],
	})
}

// close ends the reports.
func (m *manager) close() error {
	m.mu.Lock()
	for _, end := range m.followed {
		end()
	}
	m.mu.Unlock()
	m.wg.Wait()
	return m.client.Close()
}
