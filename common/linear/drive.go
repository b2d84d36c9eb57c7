package linear

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"raftworkbook/common/wire"
)

// A Workload is what clients do to a server, or a cluster, while their history is recorded.
type Workload struct {
	// Clients work at the same time, each on a connection of its own; every one does Ops operations,
	// one after the other, on keys that it picks among Keys. In the end one more reads every key.
	Clients, Ops, Keys int
	// Patience is how long a client waits for an answer, and how long it looks for a server that does not
	// refuse; 0 means 2 s.
	Patience time.Duration
	// CASReads lets clients read by a cas that cannot swap, in place of a get. It goes the way of a write:
	// for servers whose gets may be old.
	CASReads bool
	// Seed decides what the clients do. When they do it is up to the machine.
	Seed uint64
}

// refusalPause is how long a client waits after a refusal before it tries elsewhere.
const refusalPause = 5 * time.Millisecond

// Drive carries a workload out against the servers at addrs and records it in h. A client begins with the first of
// them. It leaves one that refuses for the leader that the refusal names, or for the next, and one that does not
// answer for the next; when all have refused for as long as it is patient it gives up. Drive returns when all
// clients are done or ctx has ended.
func (w Workload) Drive(ctx context.Context, h *History, addrs ...string) {
	w.Patience = cmp.Or(w.Patience, 2*time.Second)
	var all sync.WaitGroup
	for n := range w.Clients {
		all.Go(func() {
			d := driver{Workload: w, history: h, client: n + 1, addrs: addrs, rand: rand.New(rand.NewPCG(w.Seed, uint64(n)))}
			defer d.hangUp()
			for n := 0; n < w.Ops && d.carryOut(ctx, d.next()); n++ {
			}
		})
	}
	all.Wait()
	d := driver{Workload: w, history: h, client: w.Clients + 1, addrs: addrs}
	defer d.hangUp()
	for n := 0; n < w.Keys && d.carryOut(ctx, Op{Kind: Get, Key: keyName(n)}); n++ {
	}
}

func keyName(n int) string { return fmt.Sprintf("k%d", n) }

// A driver is one client of a workload.
type driver struct {
	Workload
	history *History
	client  int
	addrs   []string // of all servers, beginning with the one to ask
	rand    *rand.Rand
	conn    *wire.Conn // nil if there is none
	seen    string     // the value read last, for cas to expect
	tries   int
}

// carryOut carries out an operation. One that is refused is tried again, as an operation of its own, for as long
// as the client is patient. It returns false if that was not enough.
func (d *driver) carryOut(ctx context.Context, op Op) bool {
	for began := time.Now(); !d.try(ctx, op); {
		if time.Since(began) > d.Patience {
			return false
		}
		select {
		case <-time.After(refusalPause):
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// try carries out an operation once, and returns false if it was refused. If it failed the client hangs up: what
// comes later on that connection would be late. No two tries write the same value, so that one is found out that
// was refused and happened.
func (d *driver) try(ctx context.Context, op Op) bool {
	d.tries++
	op.Client, op.Value = d.client, fmt.Sprintf("%d.%d,", d.client, d.tries)
	if op.Kind == Get && d.CASReads {
		op.Kind, op.Expect = CAS, new("no value")
	}
	call := d.history.Begin(op)
	resp, err := d.do(ctx, op)
	if err == nil {
		answer := answerOf(resp)
		d.seen = answer.Value
		call.Return(answer)
		return true
	}
	refusal := &wire.Error{}
	errors.As(err, &refusal) // or it stays empty
	d.moveOn(refusal.Leader)
	if refusal.Code == "timeout" || errors.Is(err, wire.ErrUnknown) {
		call.Unknown()
		return true
	}
	call.Failed()
	return false
}

// moveOn hangs up and turns to leader, if that is one of the servers, or else to the next.
func (d *driver) moveOn(leader string) {
	d.hangUp()
	n := max(1, slices.Index(d.addrs, leader)) % len(d.addrs)
	d.addrs = slices.Concat(d.addrs[n:], d.addrs[:n])
}

// next draws an operation.
func (d *driver) next() Op {
	op := Op{Key: keyName(d.rand.IntN(d.Keys))}
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
	ctx, cancel := context.WithTimeout(ctx, d.Patience)
	defer cancel()
	if d.conn == nil {
		conn, err := wire.Dial(ctx, d.addrs[0])
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
