package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// stall is how long after its end a measurement waits for answers that are outstanding.
const stall = 5 * time.Second

// dialTimeout bounds a dial.
const dialTimeout = 5 * time.Second

// fillConns is how many connections write the keys before a measurement reads them.
const fillConns = 64

// A load is what the generator does to a server.
type load struct {
	op     string
	conns  int
	size   int // of a value, in bytes
	keys   int
	length time.Duration
	// echoed says that the server sends every line back, and keeps no keys.
	echoed  bool
	connect connect
}

// A connect is how to connect to a server at an address.
type connect func(ctx context.Context, addr string) (net.Conn, error)

func overTCP(ctx context.Context, addr string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

// A result is what the generator has seen.
type result struct {
	good    int // answers that were right
	elapsed time.Duration
	latency histogram // of the right answers
	// errors counts, by what was wrong, the requests that got no right answer.
	errors map[string]int
}

// drive puts a load on the server at addr, after filling its keys if the load reads them. Its error
// says that the load could not be put; requests that fail are in the result.
func drive(ctx context.Context, addr string, l load) (result, error) {
	if l.op != "put" && !l.echoed {
		if err := fill(ctx, addr, l); err != nil {
			return result{}, err
		}
	}
	workers, err := dial(ctx, addr, l, l.conns)
	if err != nil {
		return result{}, err
	}
	defer context.AfterFunc(ctx, func() { hangUp(workers) })()
	defer hangUp(workers)

	start := time.Now()
	end := start.Add(l.length)
	var running sync.WaitGroup
	for _, w := range workers {
		w.conn.SetDeadline(end.Add(stall))
		running.Go(func() { w.run(l, start, end) })
	}
	running.Wait()

	r := result{elapsed: time.Since(start), errors: map[string]int{}}
	for _, w := range workers {
		r.latency.merge(&w.latency)
		for what, n := range w.errors {
			r.errors[what] += n
		}
	}
	r.good = r.latency.total()
	return r, ctx.Err()
}

// fill puts every key once.
func fill(ctx context.Context, addr string, l load) error {
	workers, err := dial(ctx, addr, l, min(fillConns, l.keys))
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { hangUp(workers) })()
	defer hangUp(workers)

	failed := make([]error, len(workers))
	var running sync.WaitGroup
	for i, w := range workers {
		running.Go(func() {
			for key := i; key < l.keys && failed[i] == nil; key += len(workers) {
				w.conn.SetDeadline(time.Now().Add(stall))
				failed[i] = w.mustAsk(w.put, key)
			}
		})
	}
	running.Wait()
	for _, err := range failed {
		if err != nil {
			return fmt.Errorf("cannot fill the keys: %w", err)
		}
	}
	return nil
}

// A worker is one connection with one request outstanding at a time. One goroutine writes and reads.
type worker struct {
	conn     net.Conn
	in       *bufio.Reader
	put, get *request
	random   *rand.Rand
	latency  histogram
	errors   map[string]int
}

// dial makes n workers. All of them, or none, are open.
func dial(ctx context.Context, addr string, l load, n int) ([]*worker, error) {
	var workers []*worker
	for i := range n {
		conn, err := l.dial(ctx, addr)
		if err != nil {
			hangUp(workers)
			return nil, err
		}
		v := value(l.size)
		w := &worker{
			conn:   conn,
			put:    newRequest("put", v, l.echoed),
			get:    newRequest("get", v, l.echoed),
			random: rand.New(rand.NewPCG(uint64(i), 0)),
			errors: map[string]int{},
		}
		w.in = bufio.NewReaderSize(conn, len(w.put.line)+1024) // an answer is a value and some fields
		workers = append(workers, w)
	}
	return workers, nil
}

func (l load) dial(ctx context.Context, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	return l.connect(ctx, addr)
}

// hangUp closes the connections of workers.
func hangUp(workers []*worker) {
	for _, w := range workers {
		w.conn.Close()
	}
}

// run sends one request after the other from start until end, or until the connection is lost. The first is
// sent however late this connection gets its turn, unless the load has no length.
func (w *worker) run(l load, start, end time.Time) {
	q := w.put
	if l.op == "get" {
		q = w.get
	}
	for now := start; now.Before(end); {
		if l.op == "mix" {
			q = w.other(q)
		}
		complaint, err := w.ask(q, w.random.IntN(l.keys))
		if err != nil {
			w.errors["connection lost: "+reason(err)]++
			return
		}
		asked := now
		now = time.Now()
		if complaint != "" {
			w.errors[complaint]++
			continue
		}
		w.latency.add(now.Sub(asked))
	}
}

func (w *worker) other(q *request) *request {
	if q == w.put {
		return w.get
	}
	return w.put
}

// ask sends one request and waits for its answer. It returns what is wrong with the answer, "" if
// nothing is; the error says that there is none.
func (w *worker) ask(q *request, key int) (complaint string, err error) {
	q.next(key)
	if _, err := w.conn.Write(q.line); err != nil {
		return "", err
	}
	answer, err := w.in.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	return q.complaint(answer), nil
}

// mustAsk is ask where the answer must be right.
func (w *worker) mustAsk(q *request, key int) error {
	complaint, err := w.ask(q, key)
	if err == nil && complaint != "" {
		err = errors.New(complaint)
	}
	return err
}

// reason is err without the addresses, so that the same loss of many connections counts as one.
func reason(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return err.Error()
}
