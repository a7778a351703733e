package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"sync"
	"syscall"
	"time"
)

// settings configure a server process.
type settings struct {
	Contender  string
	TLS        bool
	Dir        string   // directory for durable data; "": in memory
	DSN        string   // of the PostgreSQL database to keep it in instead
	More       []string // of further databases, over which the patients are spread with it
	Nodes      int      // servers that share the database
	CPUProfile string   // the file for a profile from mark to measure
	MemProfile string   // the file for a heap profile at measure
	Apart      bool     // whether it runs on the first processor only
	Queue      int      // messages that may wait for a client, where the host has to say so; 0: the usual
}

// An order is one line to the server's standard input.
type order struct {
	Do       string  // publish, raise, stats, mark, measure, settle
	Patient  int     // the patient's number
	Patients int     // publish: in turn of so many patients; raise: of so many from there on; 0: of one
	First    int     // the first event's number
	N        int     // publish: how many; raise: how many for each patient; stats: how often
	Rate     float64 // publish: how many a second; 0: all at once

	Publishers int // publish: goroutines that make one call for each event, each for a patient of its own; 0: one call for all
}

// A report is the server's answer, one line of its standard output.
type report struct {
	Addr  string
	CPU   time.Duration // user and system, since the process began
	RSS   int64         // bytes
	Took  time.Duration // to carry the order out
	Error string
}

const serveVariable = "CAREWIRE_BENCH_SERVE"

// serve is the server process: it is told what to do on its standard input
// and ends with it.
func serve(text string) error {
	var s settings
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return err
	}
	c, err := find(s.Contender).make(s)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	if s.TLS {
		config, err := tlsConfig()
		if err != nil {
			return err
		}
		l = tls.NewListener(l, config)
	}
	go (&http.Server{Handler: c, ReadHeaderTimeout: time.Minute}).Serve(l)
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(report{Addr: addr}); err != nil {
		return err
	}
	for in := json.NewDecoder(os.Stdin); ; {
		var o order
		if err := in.Decode(&o); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		begin := time.Now()
		err := o.run(c, s)
		r := report{Took: time.Since(begin), CPU: cpu(), RSS: rss()}
		if err != nil {
			r.Error = err.Error()
		}
		if err := out.Encode(r); err != nil {
			return err
		}
	}
}

func (o *order) run(c contender, s settings) error {
	switch o.Do {
	case "publish":
		return o.publish(c)
	case "raise":
		for i := range o.N {
			for k := range max(o.Patients, 1) {
				if err := c.(alerter).raise(o.Patient+k, o.First+i); err != nil {
					return err
				}
			}
		}
	case "stats":
		for range o.N {
			c.(*carewireHost).Stats()
		}
	case "mark":
		if s.CPUProfile != "" {
			f, err := os.Create(s.CPUProfile)
			if err != nil {
				return err
			}
			return pprof.StartCPUProfile(f)
		}
	case "measure":
		pprof.StopCPUProfile()
		if s.MemProfile != "" {
			f, err := os.Create(s.MemProfile)
			if err != nil {
				return err
			}
			defer f.Close()
			runtime.GC()
			return pprof.Lookup("heap").WriteTo(f, 0)
		}
	case "settle":
		debug.FreeOSMemory()
	default:
		return fmt.Errorf("no such order: %s", o.Do)
	}
	return nil
}

func (o *order) publish(c contender) error {
	if o.Patients > 0 {
		return c.(*carewireHost).spread(o.Patients, o.First, o.N)
	}
	begin := time.Now()
	if o.Publishers > 0 {
		return o.publishSingly(c)
	}
	if o.Rate == 0 {
		return c.publish(o.Patient, o.First, o.N, begin)
	}
	for i := range o.N {
		at := begin.Add(time.Duration(float64(i) / o.Rate * float64(time.Second)))
		time.Sleep(time.Until(at))
		if err := c.publish(o.Patient, o.First+i, 1, at); err != nil {
			return err
		}
	}
	return nil
}

// publishSingly publishes N/Publishers events of each publisher's patient, one a call.
func (o *order) publishSingly(c contender) error {
	errs := make([]error, o.Publishers)
	var wg sync.WaitGroup
	for k := range o.Publishers {
		wg.Go(func() {
			for i := range o.N / o.Publishers {
				if err := c.publish(o.Patient+k, o.First+i, 1, time.Now()); err != nil {
					errs[k] = err
					return
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func rss() int64 {
	b, _ := os.ReadFile("/proc/self/status")
	var kb int64
	if _, rest, ok := strings.Cut(string(b), "VmRSS:"); ok {
		fmt.Sscan(rest, &kb)
	}
	return kb << 10
}

func tlsConfig() (*tls.Config, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{{127, 0, 0, 1}}}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"},
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, nil
}

// A server is a server process as the load generator sees it.
type server struct {
	settings
	addr string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *json.Decoder
}

func start(s settings) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	p := &server{settings: s, cmd: exec.Command(self)}
	if s.Apart {
		p.cmd = exec.Command("taskset", "-c", "0", self)
	}
	p.cmd.Env = append(os.Environ(), serveVariable+"="+string(text))
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	p.out = json.NewDecoder(bufio.NewReader(out))
	r, err := p.answer()
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("%s did not start: %w", s.Contender, err)
	}
	p.addr = r.Addr
	return p, nil
}

// do gives an order and waits until it is carried out.
func (p *server) do(o order) (report, error) {
	if err := json.NewEncoder(p.in).Encode(o); err != nil {
		return report{}, err
	}
	return p.answer()
}

func (p *server) answer() (r report, err error) {
	if err := p.out.Decode(&r); err != nil {
		return r, err
	}
	if r.Error != "" {
		return r, errors.New(r.Error)
	}
	return r, nil
}

// stop ends the process, which may be dead already.
func (p *server) stop() {
	p.in.Close()
	kill := time.AfterFunc(3*time.Second, func() { p.cmd.Process.Kill() })
	p.cmd.Wait()
	kill.Stop()
}
