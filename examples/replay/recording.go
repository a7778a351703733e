package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/carewire/carewire"
)

// A recording holds the measurements of one patient.
type recording struct {
	Patient string
	vitals  []carewire.Vital
}

// hours is how long the recording is.
func (r *recording) hours() float64 {
	if len(r.vitals) == 0 {
		return 0
	}
	return r.vitals[len(r.vitals)-1].Received.Sub(r.vitals[0].Received).Hours()
}

// column is the meaning of a column of a CSV file.
type column struct{ code, unit, device string }

// columns are those that are known by their names.
var columns = map[string]column{
	"HR":            {carewire.HeartRate.Code, "/min", "ecg"},
	"rate":          {carewire.HeartRate.Code, "/min", "ecg"},
	"PULSE":         {"8889-8", "/min", "pleth"}, // heart rate by pulse oximetry
	"RESP":          {carewire.RespiratoryRate.Code, "/min", "ecg"},
	"SpO2":          {carewire.SpO2.Code, "%", "pleth"},
	"ABPSys":        {carewire.SystolicPressure.Code, "mm[Hg]", "artery"},
	"ABPDias":       {carewire.DiastolicPressure.Code, "mm[Hg]", "artery"},
	"ABPMean":       {carewire.MeanPressure.Code, "mm[Hg]", "artery"},
	"NBPSys":        {carewire.SystolicPressure.Code, "mm[Hg]", "cuff"},
	"NBPDias":       {carewire.DiastolicPressure.Code, "mm[Hg]", "cuff"},
	"NBPMean":       {carewire.MeanPressure.Code, "mm[Hg]", "cuff"},
	"glucose_mg_dl": {carewire.GlucoseMass.Code, "mg/dL", "sensor"},
}

// recorded is the assumed beginning of recordings, which have no dates.
var recorded = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// fromFiles reads files of HL7 v2 messages, and CSV files, each of one patient: the first column is the time
// in seconds, an empty cell is nothing, and 0 the monitor's word for nothing.
func fromFiles(files []string) ([]recording, error) {
	var list []recording
	for _, file := range files {
		if filepath.Ext(file) == ".hl7" {
			text, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			of, err := fromHL7(string(text))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			list = append(list, of...)
			continue
		}
		f, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		rows, err := csv.NewReader(f).ReadAll()
		f.Close()
		if err != nil {
			return nil, err
		}
		r, err := fromRows(rows)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		r.Patient = strings.TrimSuffix(filepath.Base(file), ".csv")
		list = append(list, r)
	}
	return list, nil
}

func fromRows(rows [][]string) (r recording, err error) {
	for n, row := range rows {
		if n == 0 {
			continue
		}
		at, err := strconv.ParseFloat(row[0], 64)
		if err != nil {
			return r, fmt.Errorf("row %d: the time is no number", n+1)
		}
		for i, cell := range row[1:] {
			c, known := columns[rows[0][i+1]]
			if !known {
				return r, fmt.Errorf("column %d is not known", i+2)
			}
			if cell == "" {
				continue
			}
			t := recorded.Add(time.Duration(at * float64(time.Second)))
			v := carewire.Vital{Code: c.code, Device: c.device, Time: t, Received: t, ID: fmt.Sprintf("%d.%d", n, i)}
			if cell == "0" {
				v.Absent = carewire.AbsentUnknown
			} else {
				v.Value, v.Unit = carewire.Decimal(cell), c.unit
			}
			r.vitals = append(r.vitals, v)
		}
	}
	return r, nil
}
