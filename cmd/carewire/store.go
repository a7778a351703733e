package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/carewire/carewire/boltstore"
)

// store looks after a file of boltstore that no host has open.
func (t *tool) store(ctx context.Context, args []string) error {
	rest, err := t.parse(args, 2, 3)
	if err != nil {
		return err
	}
	do, path := rest[0], rest[1]
	if (do == "backup") != (len(rest) == 3) {
		return t.misuse("only backup takes a second file, and needs it")
	}
	switch do {
	case "inspect":
		err = t.inspect(path)
	case "verify":
		if err = boltstore.Verify(path); err == nil {
			t.print(map[string]bool{"whole": true}, "whole: every page, value and log was read")
		}
	case "compact":
		err = t.compact(path)
	case "backup":
		err = t.backup(ctx, path, rest[2])
	default:
		return t.misuse("there is inspect, verify, compact and backup")
	}
	switch {
	case errors.Is(err, boltstore.ErrLocked):
		return errors.New("a host has the file open: stop it first, or let it call Store.Backup")
	case errors.Is(err, boltstore.ErrCorrupt):
		return fmt.Errorf("%w: restore a backup", err)
	}
	return err
}

func (t *tool) inspect(path string) error {
	r, err := boltstore.Inspect(path)
	if err != nil {
		return err
	}
	t.print(r, fmt.Sprintf("%d bytes, of which %d are in use\n%d patients\n%d vitals and %d other entries were taken in, pruned ones included\n%d entries are open, %d of them with a time at which they are due\n%d epochs",
		r.Bytes, r.Used, r.Patients, r.Vitals, r.Others, r.Open, r.Waiting, r.Epochs))
	return nil
}

func (t *tool) compact(path string) error {
	before, err := os.Stat(path)
	if err == nil {
		err = boltstore.Compact(path)
	}
	if err != nil {
		return err
	}
	after, err := os.Stat(path)
	if err != nil {
		return err
	}
	t.print(map[string]int64{"before": before.Size(), "after": after.Size()}, fmt.Sprintf("%d bytes became %d", before.Size(), after.Size()))
	return nil
}

// backup writes a copy and verifies it. It replaces the file at to only at the
// end.
func (t *tool) backup(ctx context.Context, path, to string) error {
	if _, err := os.Stat(path); err != nil { // Open would make it
		return err
	}
	s, err := boltstore.Open(path, &boltstore.Options{Reserve: 1, Timeout: -1})
	if err != nil {
		return err
	}
	defer s.Close()
	part := to + ".part"
	if err := os.Remove(part); err != nil && !errors.Is(err, os.ErrNotExist) { // what stands there may be open to others, or lead elsewhere
		return err
	}
	f, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(part)
	err = errors.Join(s.Backup(ctx, f), f.Sync(), f.Close())
	if err == nil {
		err = boltstore.Verify(part)
	}
	if err == nil {
		err = os.Rename(part, to)
	}
	if err != nil {
		return err
	}
	t.print(map[string]string{"backup": to}, "written to "+to+" and read again; open it once with Options.NewEpoch")
	return nil
}
