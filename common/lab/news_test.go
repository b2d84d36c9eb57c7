package lab

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A haltingWriter writes nothing until it is let.
type haltingWriter struct {
	lockedBuffer
	on chan struct{}
}

func (w *haltingWriter) Write(b []byte) (int, error) {
	<-w.on
	return w.lockedBuffer.Write(b)
}

func TestNews_that_nobody_reads_are_lost_and_counted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := haltingWriter{on: make(chan struct{})}
		n := startNews(&w)
		n.say("first")
		synctest.Wait() // it is being written
		var want bytes.Buffer
		fmt.Fprintln(&want, "first")
		for i := range maxNews + 5 {
			n.say(fmt.Sprint(i))
			if i < maxNews {
				fmt.Fprintln(&want, i)
			}
		}
		close(w.on)
		synctest.Wait()
		n.say("last")
		n.close()
		n.say("too late")
		fmt.Fprint(&want, "(lines lost, since they came faster than they were read: 5)\nlast\n")
		require.Equal(t, want.String(), w.String())
	})
}

func TestNews_say_in_the_end_what_was_lost_last(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := haltingWriter{on: make(chan struct{})}
		n := startNews(&w)
		for range maxNews + 2 {
			n.say("x")
			synctest.Wait() // the first is being written
		}
		began := time.Now()
		n.close()
		require.Equal(t, lastNewsTime, time.Since(began), "it waits for a reader, but not for ever")
		close(w.on)
		<-n.written
		require.Contains(t, w.String(), "x\n(lines lost, since they came faster than they were read: 1)\n")
	})
}

func TestLab_kills_and_closes_though_nobody_reads_its_news(t *testing.T) {
	t.Parallel()
	w := haltingWriter{on: make(chan struct{})}
	l, err := Start(t.Context(), Options{Out: &w})
	require.NoError(t, err)
	began := time.Now()
	run(t, l, "put say hello => ok", "kill n1 => ok", "restart n1 => ok", "put say again => ok")
	require.NoError(t, l.Close())
	require.Less(t, time.Since(began), reapTime)
	close(w.on)
	<-l.news.written
	require.Equal(t, "n1 | hello\nn1 | again\n", w.String())
}
