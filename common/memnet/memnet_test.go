package memnet

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestConn_delivers_in_pieces_what_was_written_at_once(t *testing.T) {
	a, b := Pipe(0)
	defer a.Close()
	defer b.Close()
	n, err := a.Write([]byte("abcdef"))
	require.NoError(t, err)
	require.Equal(t, 6, n)
	for _, want := range []string{"abcd", "ef"} {
		p := make([]byte, 4)
		n, err := b.Read(p)
		require.NoError(t, err)
		require.Equal(t, want, string(p[:n]))
	}
}

func TestConn_write_waits_while_the_buffer_is_full(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe(8)
		defer b.Close()
		written := make(chan error, 1)
		go func() {
			_, err := a.Write(bytes.Repeat([]byte("x"), 20))
			a.Close()
			written <- err
		}()
		synctest.Wait()
		require.Len(t, b.in.buf, 8)
		require.Empty(t, written)
		got, err := io.ReadAll(b)
		require.NoError(t, err)
		require.Len(t, got, 20)
		require.NoError(t, <-written)
	})
}

func TestConn_writes_made_at_once_do_not_mix(t *testing.T) {
	a, b := Pipe(3)
	defer b.Close()
	var writers sync.WaitGroup
	for _, s := range []string{"aaaaaaaa\n", "bbbbbbbb\n", "cccccccc\n"} {
		writers.Go(func() { a.Write([]byte(s)) })
	}
	go func() { writers.Wait(); a.Close() }()
	got, err := io.ReadAll(b)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"aaaaaaaa", "bbbbbbbb", "cccccccc", ""}, split(got))
}

func split(p []byte) (lines []string) {
	for _, l := range bytes.Split(p, []byte("\n")) {
		lines = append(lines, string(l))
	}
	return lines
}

func TestConn_deadline_ends_a_wait_to_the_nanosecond(t *testing.T) {
	for _, c := range []struct {
		name string
		call func(*Conn) error
	}{
		{"read", func(c *Conn) error { _, err := c.Read(make([]byte, 1)); return err }},
		{"write", func(c *Conn) error { _, err := c.Write(make([]byte, 100)); return err }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := Pipe(8)
				defer a.Close()
				defer b.Close()
				start := time.Now()
				const wait = 3*time.Second + time.Nanosecond
				require.NoError(t, a.SetDeadline(start.Add(wait)))
				err := c.call(a)
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
				timeout, ok := err.(net.Error)
				require.True(t, ok && timeout.Timeout())
				require.Equal(t, wait, time.Since(start))
				require.ErrorIs(t, c.call(a), os.ErrDeadlineExceeded, "it stays passed")
			})
		})
	}
}

func TestConn_write_reports_what_was_sent_before_the_deadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe(8)
		defer a.Close()
		defer b.Close()
		require.NoError(t, a.SetWriteDeadline(time.Now().Add(time.Second)))
		n, err := a.Write(make([]byte, 100))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, 8, n)
	})
}

func TestConn_deadline_in_the_past_ends_a_wait_at_once(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe(0)
		defer a.Close()
		defer b.Close()
		start := time.Now()
		failed := make(chan error, 1)
		go func() {
			_, err := a.Read(make([]byte, 1))
			failed <- err
		}()
		synctest.Wait()
		require.NoError(t, a.SetReadDeadline(time.Unix(1, 0)))
		require.ErrorIs(t, <-failed, os.ErrDeadlineExceeded)
		require.Zero(t, time.Since(start))
	})
}

func TestConn_deadline_can_be_renewed_and_taken_away(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe(0)
		defer a.Close()
		defer b.Close()
		start := time.Now()
		require.NoError(t, a.SetReadDeadline(start.Add(time.Second)))
		go func() {
			time.Sleep(900 * time.Millisecond)
			a.SetReadDeadline(start.Add(5 * time.Second)) // under a read that waits
		}()
		_, err := a.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.Equal(t, 5*time.Second, time.Since(start))

		require.NoError(t, a.SetReadDeadline(time.Time{}))
		go func() {
			time.Sleep(time.Hour)
			b.Write([]byte("x"))
		}()
		_, err = a.Read(make([]byte, 1))
		require.NoError(t, err)
	})
}

func TestConn_passed_deadline_wins_over_data_and_loses_none(t *testing.T) {
	a, b := Pipe(0)
	defer a.Close()
	defer b.Close()
	_, err := b.Write([]byte("x"))
	require.NoError(t, err)
	require.NoError(t, a.SetReadDeadline(time.Unix(1, 0)))
	_, err = a.Read(make([]byte, 1))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.NoError(t, a.SetReadDeadline(time.Time{}))
	n, err := a.Read(make([]byte, 1))
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

func TestConn_close_unblocks_both_ends(t *testing.T) {
	for _, c := range []struct {
		name         string
		call         func(*Conn) error
		wantA, wantB error
	}{
		{"read", func(c *Conn) error { _, err := c.Read(make([]byte, 1)); return err }, net.ErrClosed, io.EOF},
		{"write", func(c *Conn) error { _, err := c.Write(make([]byte, 9)); return err }, net.ErrClosed, syscall.EPIPE},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := Pipe(8)
				gotA, gotB := make(chan error, 1), make(chan error, 1)
				go func() { gotA <- c.call(a) }()
				go func() { gotB <- c.call(b) }()
				synctest.Wait()
				require.NoError(t, a.Close())
				require.ErrorIs(t, <-gotA, c.wantA)
				require.ErrorIs(t, <-gotB, c.wantB)
				require.ErrorIs(t, a.Close(), net.ErrClosed)
				require.ErrorIs(t, a.SetDeadline(time.Time{}), net.ErrClosed)
				require.NoError(t, b.Close())
			})
		})
	}
}

func TestConn_peer_of_a_closed_end_reads_what_is_left_then_EOF(t *testing.T) {
	a, b := Pipe(0)
	_, err := a.Write([]byte("last words"))
	require.NoError(t, err)
	require.NoError(t, a.Close())
	got, err := io.ReadAll(b)
	require.NoError(t, err)
	require.Equal(t, "last words", string(got))
	_, err = b.Write([]byte("x"))
	require.ErrorIs(t, err, syscall.EPIPE)
}

func TestConn_half_close_leaves_the_other_half(t *testing.T) {
	a, b := Pipe(0)
	require.NoError(t, a.CloseWrite())
	_, err := a.Write([]byte("x"))
	require.ErrorIs(t, err, syscall.EPIPE)
	_, err = b.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err)
	_, err = b.Write([]byte("answer"))
	require.NoError(t, err)
	require.NoError(t, b.Close())
	got, err := io.ReadAll(a)
	require.NoError(t, err)
	require.Equal(t, "answer", string(got))
}

func TestNetwork_connects_who_dials_with_who_listens(t *testing.T) {
	var n Network
	l, err := n.Listen("n1")
	require.NoError(t, err)
	defer l.Close()
	_, err = n.Listen("n1")
	require.ErrorIs(t, err, syscall.EADDRINUSE)

	here, err := n.DialContext(context.Background(), "tcp", "n1")
	require.NoError(t, err)
	defer here.Close()
	there, err := l.Accept()
	require.NoError(t, err)
	defer there.Close()
	require.Equal(t, here.LocalAddr(), there.RemoteAddr())
	_, err = here.Write([]byte("x"))
	require.NoError(t, err)
	_, err = there.Read(make([]byte, 1))
	require.NoError(t, err)
}

func TestNetwork_refuses_where_nobody_listens(t *testing.T) {
	var n Network
	_, err := n.DialContext(context.Background(), "tcp", "n1")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)

	l, err := n.Listen("n1")
	require.NoError(t, err)
	waiting, err := n.DialContext(context.Background(), "tcp", "n1")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	_, err = waiting.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err, "nobody will accept it now")
	_, err = n.DialContext(context.Background(), "tcp", "n1")
	require.ErrorIs(t, err, syscall.ECONNREFUSED)
	l, err = n.Listen("n1")
	require.NoError(t, err, "the address is free again")
	require.NoError(t, l.Close())
}

func TestNetwork_dial_waits_for_a_full_backlog_until_its_context_ends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n Network
		l, err := n.Listen("n1")
		require.NoError(t, err)
		defer l.Close()
		for range backlog {
			_, err := n.DialContext(t.Context(), "tcp", "n1")
			require.NoError(t, err)
		}
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = n.DialContext(ctx, "tcp", "n1")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(start))
	})
}

func TestListener_close_ends_accept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n Network
		l, err := n.Listen("n1")
		require.NoError(t, err)
		accepted := make(chan error, 1)
		go func() {
			_, err := l.Accept()
			accepted <- err
		}()
		synctest.Wait()
		require.NoError(t, l.Close())
		require.ErrorIs(t, <-accepted, net.ErrClosed)
		_, err = l.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
		require.ErrorIs(t, l.Close(), net.ErrClosed)
	})
}

func TestListener_fails_one_accept_on_demand(t *testing.T) {
	var n Network
	l, err := n.Listen("n1")
	require.NoError(t, err)
	defer l.Close()
	l.FailAccept(syscall.EMFILE)
	_, err = l.Accept()
	require.ErrorIs(t, err, syscall.EMFILE)
	_, err = n.DialContext(context.Background(), "tcp", "n1")
	require.NoError(t, err)
	_, err = l.Accept()
	require.NoError(t, err)
}
