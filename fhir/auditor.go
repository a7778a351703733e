package fhir

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/carewire/carewire"
)

const (
	spoolName    = "audit-"
	spoolEnd     = ".ndjson"
	rejectedName = "rejected.ndjson"
)

// AuditorOptions are a host's choices for an Auditor.
type AuditorOptions struct {
	URL  string // the base of the FHIR server that keeps AuditEvents; required
	Dir  string // where unsent records are kept, for this process only; required, and made if it is not there
	Site Site

	Client   *http.Client                               // sends; nil: one with a timeout of 30 s
	Header   func(context.Context) (http.Header, error) // of each post, such as its Authorization; nil: none
	Batch    int                                        // AuditEvents in one Bundle, at most; 0: 100
	Every    time.Duration                              // the interval between looks at waiting records; 0: 1 s
	MaxBytes int64                                      // kept in Dir; beyond, Record fails; 0: 1 GiB
	Logger   *slog.Logger                               // gets no health data; nil: slog.Default()
}

// An Auditor posts a Hub's records to a FHIR server as AuditEvents, in Bundles
// of the type batch. Record returns once the record is on disk: it survives a
// crash, and is sent when the server can be reached. Records that the server
// refuses for good (4xx) go to the file rejected.ndjson, and are counted and
// logged. If an answer is lost, the batch is sent again, and the server may
// have its events twice.
//
// The files contain AuditEvents: names and patients' IDs. Only the process's
// user can read them.
type Auditor struct {
	opt  AuditorOptions
	stop context.CancelFunc
	done chan struct{}

	mu    sync.Mutex
	file  *os.File // the present file; nil: none
	lines int      // in it
	next  int      // number of the next file
	bytes int64    // in all files
	ended bool

	sent, failed, rejected atomic.Uint64
}

// NewAuditor returns an Auditor that continues with the records in Dir. Close
// ends it.
func NewAuditor(o AuditorOptions) (*Auditor, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" || o.Dir == "" {
		return nil, errors.New("fhir: AuditorOptions.URL and Dir are required")
	}
	o.URL = strings.TrimSuffix(o.URL, "/")
	if o.Client == nil {
		o.Client = &http.Client{Timeout: 30 * time.Second}
	}
	if o.Batch <= 0 {
		o.Batch = 100
	}
	if o.Every <= 0 {
		o.Every = time.Second
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = 1 << 30
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("fhir: the Auditor's directory cannot be made: %w", err)
	}
	a := &Auditor{opt: o, done: make(chan struct{}), next: 1}
	for _, name := range a.files() {
		fmt.Sscanf(name, spoolName+"%d", &a.next)
		a.next++
		if info, err := os.Stat(filepath.Join(o.Dir, name)); err == nil {
			a.bytes += info.Size()
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	a.stop = stop
	go a.run(ctx)
	return a, nil
}

// Record keeps r on disk, to be sent.
func (a *Auditor) Record(ctx context.Context, r carewire.Record) error {
	line := append(AuditEvent(r, a.opt.Site), '\n')
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case a.ended:
		return carewire.ErrClosed
	case a.bytes+int64(len(line)) > a.opt.MaxBytes:
		return carewire.ErrFull
	}
	if a.file == nil {
		f, err := os.OpenFile(filepath.Join(a.opt.Dir, fmt.Sprintf("%s%012d%s", spoolName, a.next, spoolEnd)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		a.file, a.lines = f, 0
		a.next++
	}
	n, err := a.file.Write(line)
	a.bytes += int64(n)
	if err == nil {
		err = a.file.Sync()
	}
	if err != nil { // the part that was written of it was not promised: the file is ended
		a.seal()
		return err
	}
	if a.lines++; a.lines >= a.opt.Batch {
		a.seal()
	}
	return nil
}

// seal ends the file that is written to. Under a.mu.
func (a *Auditor) seal() {
	if a.file != nil {
		a.file.Close()
		a.file = nil
	}
}

// AuditorStats count an Auditor's work since it began.
type AuditorStats struct {
	Sent     uint64 // AuditEvents that the server has taken
	Failed   uint64 // posts that failed; each is tried again
	Rejected uint64 // AuditEvents that the server refuses for good
	Waiting  int64  // bytes on disk that are to be sent
}

// Stats returns the counts.
func (a *Auditor) Stats() AuditorStats {
	a.mu.Lock()
	defer a.mu.Unlock()
	return AuditorStats{a.sent.Load(), a.failed.Load(), a.rejected.Load(), a.bytes}
}

// Close sends the waiting records, until ctx ends, and ends the Auditor. Unsent
// records stay on disk, for the next one. Close it after the Hub.
func (a *Auditor) Close(ctx context.Context) error {
	a.mu.Lock()
	first := !a.ended
	a.ended = true
	a.seal()
	a.mu.Unlock()
	a.stop()
	<-a.done
	if !first {
		return nil
	}
	for ctx.Err() == nil && len(a.files()) > 0 {
		if a.sendOldest(ctx) != nil {
			break
		}
	}
	if len(a.files()) > 0 {
		return errors.New("fhir: audit records wait on disk")
	}
	return nil
}

// run sends the waiting records, file by file, oldest first.
func (a *Auditor) run(ctx context.Context) {
	defer close(a.done)
	pause := a.opt.Every
	for {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		a.mu.Lock()
		a.seal()
		a.mu.Unlock()
		pause = a.opt.Every
		for ctx.Err() == nil && len(a.sealed()) > 0 {
			if a.sendOldest(ctx) != nil {
				pause = min(max(2*pause, a.opt.Every), time.Minute)
				break
			}
		}
	}
}

// files lists the files of records, oldest first.
func (a *Auditor) files() (list []string) {
	entries, err := os.ReadDir(a.opt.Dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), spoolName) && strings.HasSuffix(e.Name(), spoolEnd) {
			list = append(list, e.Name())
		}
	}
	slices.Sort(list)
	return list
}

// sealed lists those that are not written to.
func (a *Auditor) sealed() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := a.files()
	if a.file != nil && len(list) > 0 {
		list = list[:len(list)-1]
	}
	return list
}

// sendOldest sends the oldest file and removes it.
func (a *Auditor) sendOldest(ctx context.Context) error {
	list := a.sealed()
	if len(list) == 0 {
		return nil
	}
	path := filepath.Join(a.opt.Dir, list[0])
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if events := linesOf(data); len(events) > 0 {
		if err := a.send(ctx, events); err != nil {
			if a.failed.Add(1)&(a.failed.Load()-1) == 0 { // the first, second, fourth …
				a.opt.Logger.Error("carewire: audit records cannot be sent, and wait on disk", "failed", a.failed.Load())
			}
			return err
		}
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	a.mu.Lock()
	a.bytes -= int64(len(data))
	a.mu.Unlock()
	return nil
}

// linesOf returns the records of a file. A last line that is cut short was never
// promised.
func linesOf(data []byte) (list []json.RawMessage) {
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if json.Valid(lines.Bytes()) && len(lines.Bytes()) > 0 {
			list = append(list, slices.Clone(lines.Bytes()))
		}
	}
	return list
}

// send posts events. An error means that they are to be sent again.
func (a *Auditor) send(ctx context.Context, events []json.RawMessage) error {
	b := bundle{ResourceType: "Bundle", Type: "batch"}
	for _, e := range events {
		b.Entry = append(b.Entry, bundleEntry{FullURL: "urn:uuid:" + newUUID(), Resource: e, Request: &bundleRequest{"POST", "AuditEvent"}})
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.opt.URL, bytes.NewReader(encode(b)))
	if err != nil {
		return err
	}
	if a.opt.Header != nil {
		h, err := a.opt.Header(ctx)
		if err != nil {
			return err
		}
		r.Header = h.Clone()
	}
	r.Header.Set("Content-Type", "application/fhir+json")
	r.Header.Set("Accept", "application/fhir+json")
	r.Header.Set("Prefer", "return=minimal")
	res, err := a.opt.Client.Do(r)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	switch {
	case err != nil || res.StatusCode >= 500 || res.StatusCode == 401 || res.StatusCode == 403 || res.StatusCode == 408 || res.StatusCode == 429:
		return errors.New("fhir: the audit server does not take records now")
	case res.StatusCode >= 300 && len(events) > 1: // one of them may be at fault: each by itself
		for _, e := range events {
			if err := a.send(ctx, []json.RawMessage{e}); err != nil {
				return err
			}
		}
		return nil
	case res.StatusCode >= 300:
		return a.reject(events)
	}
	return a.sort(events, body)
}

// sort counts the records that a Bundle's answer takes, and puts aside the
// others.
func (a *Auditor) sort(events []json.RawMessage, body []byte) error {
	var answer struct {
		Entry []struct {
			Response struct{ Status string }
		}
	}
	if json.Unmarshal(body, &answer) != nil || len(answer.Entry) != len(events) {
		return errors.New("fhir: the audit server's answer cannot be read")
	}
	var rejected, again []json.RawMessage
	for i, e := range answer.Entry {
		switch status := e.Response.Status; {
		case strings.HasPrefix(status, "2"):
			a.sent.Add(1)
		case strings.HasPrefix(status, "4") && !strings.HasPrefix(status, "429"):
			rejected = append(rejected, events[i])
		default:
			again = append(again, events[i])
		}
	}
	if err := a.reject(rejected); err != nil {
		return err
	}
	if len(again) == len(events) {
		return errors.New("fhir: the audit server takes none of the records now")
	}
	if len(again) > 0 {
		return a.keep(again)
	}
	return nil
}

// keep puts events that are to be sent again into a file of their own.
func (a *Auditor) keep(events []json.RawMessage) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	name := fmt.Sprintf("%s%012d%s", spoolName, a.next, spoolEnd)
	a.next++
	a.seal() // the order of files stays that of their numbers
	n, err := appendLines(filepath.Join(a.opt.Dir, name), events)
	a.bytes += n
	return err
}

// reject keeps the records that the server refuses for good.
func (a *Auditor) reject(events []json.RawMessage) error {
	if len(events) == 0 {
		return nil
	}
	if _, err := appendLines(filepath.Join(a.opt.Dir, rejectedName), events); err != nil {
		return err
	}
	a.rejected.Add(uint64(len(events)))
	a.opt.Logger.Error("carewire: the audit server refuses records: they are in "+rejectedName, "records", len(events))
	return nil
}

func appendLines(path string, events []json.RawMessage) (n int64, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for _, e := range events {
		m, err := f.Write(append(slices.Clone(e), '\n'))
		n += int64(m)
		if err != nil {
			return n, err
		}
	}
	return n, f.Sync()
}
