package main

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// A slowDisk flushes one time for each go it is given, with the error that comes with it.
type slowDisk struct {
	written bytes.Buffer
	flushed string // what was written when the last flush ended
	goes    chan error
}

func (d *slowDisk) Write(b []byte) (int, error) { return d.written.Write(b) }

func (d *slowDisk) Sync() error {
	err := <-d.goes
	if err == nil {
		d.flushed = d.written.String()
	}
	return err
}

// runJournal runs a journal on d until the test's bubble calls stop.
func runJournal(d *slowDisk, failed func()) (j *journal, stop func()) {
	j = newJournal(d)
	var writer sync.WaitGroup
	writer.Go(func() { j.run(failed) })
	return j, func() {
		j.stop()
		writer.Wait()
	}
}

func TestJournal_acknowledges_lines_once_flushed_and_flushes_them_together(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &slowDisk{goes: make(chan error)}
		j, stop := runJournal(d, func() { t.Error("failed") })
		acknowledged := make(chan bool, 10)
		add := func(line string) { go func() { acknowledged <- j.append([]byte(line)) }() }

		add("a\n")
		synctest.Wait()
		for range 5 {
			add("b\n")
		}
		synctest.Wait()
		require.Empty(t, acknowledged)

		d.goes <- nil
		synctest.Wait()
		require.Len(t, acknowledged, 1)
		require.Equal(t, "a\n", d.flushed)

		d.goes <- nil
		synctest.Wait()
		require.Len(t, acknowledged, 6)
		require.Equal(t, "a\nb\nb\nb\nb\nb\n", d.flushed)
		for range 6 {
			require.True(t, <-acknowledged)
		}
		stop()
	})
}

func TestJournal_acknowledges_nothing_after_a_flush_that_failed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &slowDisk{goes: make(chan error, 1)}
		failures := 0
		j, stop := runJournal(d, func() { failures++ })
		d.goes <- errors.New("disk on fire")
		require.False(t, j.append([]byte("a\n")))
		require.Equal(t, 1, failures)
		require.False(t, j.append([]byte("b\n"))) // without a second try
		stop()
		require.EqualError(t, j.err, "disk on fire")
	})
}
