package main

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"encoding/binary"
	"io"
	"sync"
	"time"

	"github.com/carewire/carewire"
)

// Five and a half minutes of intensive care; ecg.md says where they come from.
//
//go:embed icu-waves-a103l.i16.gz
var icuFile []byte

// unpack reads a file of samples.
func unpack(file []byte) []int16 {
	r, err := gzip.NewReader(bytes.NewReader(file))
	if err != nil {
		panic(err)
	}
	raw, err := io.ReadAll(r)
	if err != nil {
		panic(err)
	}
	samples := make([]int16, len(raw)/2)
	for i := range samples {
		samples[i] = int16(binary.LittleEndian.Uint16(raw[2*i:]))
	}
	return samples
}

var icu = sync.OnceValue(func() []int16 { return unpack(icuFile) })

// leads are the signals of icuFile, which stand side by side in it.
var leads = []carewire.Wave{
	{Code: "131330", System: carewire.MDC, Unit: "mV", Factor: "0.000137988133"},  // lead II
	{Code: "131331", System: carewire.MDC, Unit: "mV", Factor: "0.0000950570342"}, // a chest lead
	{Code: "150452", System: carewire.MDC, Unit: "1", Factor: "0.0000798084597"},  // the pulse in a finger
}

const (
	icuRate  = 250
	perChunk = 4 // chunks a second
)

// A player sends a recorded signal of a patient, over and over, as a monitor does
// that measures it now.
type player struct {
	wave  carewire.Wave // the fields that the chunks have in common
	began time.Time
	n     int // samples so far
}

func newPlayer(patient string, wave carewire.Wave, rate float64) *player {
	wave.Patient, wave.Device, wave.Rate = patient, "mon-"+patient, rate
	return &player{wave: wave, began: time.Now()}
}

// add takes the next sample, and sends each quarter of a second.
func (p *player) add(client *carewire.Client, sample int16) {
	if len(p.wave.Samples) == 0 {
		p.wave.Number++
		p.wave.Time = p.began.Add(time.Duration(float64(p.n) / p.wave.Rate * float64(time.Second)))
	}
	p.wave.Samples = append(p.wave.Samples, int32(sample))
	if p.n++; len(p.wave.Samples) == int(p.wave.Rate/perChunk) {
		client.PublishWaves(p.wave) // a chunk that cannot be sent is a gap, and drawn as one
		p.wave.Samples = p.wave.Samples[:0]
	}
}

// sendLeads plays the recorded signals of intensive care.
func (g *gateway) sendLeads(ctx context.Context, client *carewire.Client, patient string) {
	var players []*player
	for _, lead := range leads {
		players = append(players, newPlayer(patient, lead, icuRate))
	}
	ticker := time.NewTicker(time.Second / 10)
	defer ticker.Stop()
	for at := 0; ; {
		for range icuRate / 10 {
			for i, p := range players {
				p.add(client, icu()[(at+i)%len(icu())])
			}
			at += len(players)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
