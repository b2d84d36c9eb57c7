package linear

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"raftworkbook/common/wire"
)

// A Workload is what clients do to a server while their history is recorded.
type Workload struct {
	// Clients work at the same time, each on a connection of its own; every one does Ops operations,
	// one after the other, on keys that it picks among Keys. In the end one more reads every key.
	Clients, Ops, Keys int
	// Patience is how long a client waits for an answer; 0 means 2 s.
	Patience time.Duration
	// Seed decides what the clients do. When they do it is up to the machine.
	Seed uint64
}

// Drive carries a workload out against the server at addr and records it in h. It returns when all clients
// are done or ctx has ended.
func (w Workload) Drive(ctx context.Context, h *History, addr string) {
	var all sync.WaitGroup
	for n := range w.Clients {
		all.Go(func() {
			d := driver{Workload: w, history: h, client: n + 1, addr: addr, rand: rand.New(rand.NewPCG(w.Seed, uint64(n)))}
			defer d.hangUp()
			for n := 0; n < w.Ops && ctx.Err() == nil; n++ {
				d.record(ctx, d.next(n))
			}
		})
	}
	all.Wait()
	d := driver{Workload: w, history: h, client: w.Clients + 1, addr: addr}
	defer d.hangUp()
	for n := 0; n < w.Keys && ctx.Err() == nil; n++ {
		d.record(ctx, Op{Client: d.client, Kind: Get, Key: keyName(n)})
	}
}

func keyName(n int) string { return fmt.Sprintf("k%d", n) }

// A driver is one client of a workload.
type driver struct {
	Workload
	history *History
	client  int
	addr    string
	rand    *rand.Rand
	conn    *wire.Conn // nil if there is none
	seen    string     // the value read last, for cas to expect
}

// record carries out an operation, and hangs up if that failed: what comes later on that connection would be
// late.
func (d *driver) record(ctx context.Context, op Op) {
	call := d.history.Begin(op)
	resp, err := d.do(ctx, op)
	var refused *wire.Error
	switch {
	case err == nil:
		answer := answerOf(resp)
		d.seen = answer.Value
		call.Return(answer)
		return
	case errors.As(err, &refused) && refused.Code != "timeout", errors.Is(err, wire.ErrNotSent):
		call.Failed()
	default:
		call.Unknown()
	}
	d.hangUp()
}

// next draws the client's nth operation. No two of a workload write the same value.
func (d *driver) next(n int) Op {
	op := Op{Client: d.client, Key: keyName(d.rand.IntN(d.Keys)), Value: fmt.Sprintf("%d.%d,", d.client, n)}
	switch d.rand.IntN(10) {
	case 0, 1, 2:
		op.Kind = Put
	case 3:
		op.Kind = CAS
		if d.seen != "" {
			op.Expect = new(d.seen)
		}
	case 4:
		op.Kind = Append
	case 5:
		op.Kind = Delete
	default:
		op.Kind = Get
	}
	return op
}

func (d *driver) do(ctx context.Context, op Op) (wire.Response, error) {
	patience := d.Patience
	if patience == 0 {
		patience = 2 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if d.conn == nil {
		conn, err := wire.Dial(ctx, d.addr)
		if err != nil {
			return wire.Response{}, err
		}
		d.conn = conn
	}
	r := wire.Request{Op: string(op.Kind), Key: op.Key, Expect: op.Expect}
	if op.Kind != Get && op.Kind != Delete {
		r.Value = &op.Value
	}
	return d.conn.Do(ctx, r)
}

func (d *driver) hangUp() {
	if d.conn != nil {
		d.conn.Close()
		d.conn = nil
	}
}

// answerOf takes from a response what the judgement needs.
func answerOf(r wire.Response) Answer {
	var a Answer
	if r.Found != nil {
		a.Found = *r.Found
	}
	if r.Value != nil {
		a.Value = *r.Value
	}
	if r.Swapped != nil {
		a.Swapped = *r.Swapped
	}
	if r.Length != nil {
		a.Length = *r.Length
	}
	return a
}
