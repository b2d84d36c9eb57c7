package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"

	"raftworkbook/common/wire"
)

// runDurable appends every line to the file at path, and sends it back once it is flushed, until ctx
// ends or the disk fails.
func runDurable(ctx context.Context, out io.Writer, path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	j := newJournal(file)
	var writer sync.WaitGroup
	writer.Go(func() { j.run(cancel) })
	err = serve(ctx, out, j.handle)
	j.stop()
	writer.Wait()
	return errors.Join(err, j.err, file.Close())
}

// A journal appends lines for many connections, with one flush for all that arrive during the flush
// before. At most one line a connection waits.
type journal struct {
	file file

	mu      sync.Mutex
	arrived sync.Cond // next has its first line, or stopped is set
	next    *batch
	stopped bool

	// err is why the disk failed; the writer's own until it has ended.
	err error
}

// A file is what a journal needs of an *os.File.
type file interface {
	io.Writer
	Sync() error
}

// A batch is what one flush makes durable.
type batch struct {
	lines []byte
	// done is closed once flushed is known.
	done chan struct{}
	// flushed says that all lines are on the disk.
	flushed bool
}

func newJournal(f file) *journal {
	j := &journal{file: f, next: &batch{done: make(chan struct{})}}
	j.arrived.L = &j.mu
	return j
}

// handle sends back each line of a connection once it is on the disk.
func (j *journal) handle(conn net.Conn) {
	in := bufio.NewScanner(conn)
	in.Buffer(nil, wire.MaxLine)
	in.Split(wholeLines)
	for in.Scan() {
		if !j.append(in.Bytes()) {
			return
		}
		if _, err := conn.Write(in.Bytes()); err != nil {
			return
		}
	}
}

// wholeLines splits at newlines and keeps them; what has no newline at the end is no line.
func wholeLines(data []byte, _ bool) (int, []byte, error) {
	n := bytes.IndexByte(data, '\n') + 1
	if n == 0 {
		return 0, nil, nil
	}
	return n, data[:n], nil
}

// append returns once line is on the disk, or false if it may not be.
func (j *journal) append(line []byte) bool {
	j.mu.Lock()
	b := j.next
	b.lines = append(b.lines, line...)
	j.arrived.Signal()
	j.mu.Unlock()
	<-b.done
	return b.flushed
}

// run writes one batch after the other until it is stopped. When the disk fails it calls failed, and
// flushes nothing any more: what a second try says cannot be trusted.
func (j *journal) run(failed func()) {
	for b := j.take(); b != nil; b = j.take() {
		if j.err == nil {
			j.err = j.flush(b.lines)
		}
		if j.err != nil {
			failed()
		}
		b.flushed = j.err == nil
		close(b.done)
	}
}

// take waits for lines and takes them all. It returns nil when the journal is stopped.
func (j *journal) take() *batch {
	j.mu.Lock()
	defer j.mu.Unlock()
	for len(j.next.lines) == 0 && !j.stopped {
		j.arrived.Wait()
	}
	if j.stopped {
		return nil
	}
	b := j.next
	j.next = &batch{lines: make([]byte, 0, len(b.lines)), done: make(chan struct{})}
	return b
}

func (j *journal) flush(lines []byte) error {
	if _, err := j.file.Write(lines); err != nil {
		return err
	}
	return j.file.Sync()
}

// stop ends run. Nobody may be in append.
func (j *journal) stop() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.stopped = true
	j.arrived.Signal()
}
