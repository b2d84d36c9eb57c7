package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"raftworkbook/common/lab"
	"raftworkbook/common/wire"
)

const (
	// samplePause is how often directories are looked at, and pollPause how often nodes are asked how far they are.
	samplePause = 100 * time.Millisecond
	pollPause   = 20 * time.Millisecond

	// catchUpTime bounds the wait for a node to be where it should be.
	catchUpTime = 2 * time.Minute

	// calmLengths is for how many lengths clients put before a node begins with nothing; and so long is a measurement
	// of what snapshots cost, so that there are some.
	calmLengths = 5

	// snapshotEntries is about how many entries lie between two snapshots when their cost is measured. With its value
	// an entry has entryBytes more in the log.
	snapshotEntries = 10_000
	entryBytes      = 100
)

// A compaction is what it does for a stage that it cuts its log, and what that costs.
type compaction struct {
	// Entries is how many puts came before all that follows, Conns how many connections they, and all others, took.
	Entries int       `json:"entries"`
	Conns   int       `json:"connections"`
	Disks   []diskRow `json:"disks"`

	// Node is a follower, which had applied what is up to Applied when it was killed. Restart is the time from its start
	// until it had again, CatchUp that from its start on an empty directory, while clients put, until it had caught up.
	Node    string `json:"node"`
	Applied uint64 `json:"applied"`
	Restart micros `json:"restart_us"`
	CatchUp micros `json:"catch_up_us"`
	// P99Before and P99During are of their puts: before the node was gone, and while it caught up.
	P99Before micros `json:"p99_before_us"`
	P99During micros `json:"p99_during_us"`
	// Again is how many of all these puts had to be put again, because the leader was lost.
	Again int64 `json:"again"`

	// CPU is the processor time per put with a snapshot each time that the log has grown by SnapshotBytes, Before that
	// of the stage before. CPUVsBefore is the median of the ratios in the same round.
	SnapshotBytes int     `json:"snapshot_bytes"`
	CPU           micros  `json:"cpu_us_per_put"`
	Before        string  `json:"before"`
	CPUBefore     micros  `json:"cpu_us_per_put_before"`
	CPUVsBefore   float64 `json:"cpu_vs_before"`
	// Errors are those of these two, by what was wrong.
	Errors map[string]int `json:"errors,omitempty"`
}

// A diskRow is what a node has on its disk after all puts.
type diskRow struct {
	Node string `json:"node"`
	// Most is how large its directory was at most, as far as that was seen; Bytes how large it is, and of that Log is the
	// log.
	Most  int64 `json:"most_bytes"`
	Bytes int64 `json:"bytes"`
	Log   int64 `json:"log_bytes"`
	// Entries is how many the last snapshot does not stand for.
	Entries uint64 `json:"entries"`
}

// compaction measures all of it.
func (b *bench) compaction(ctx context.Context, s stage) (*compaction, error) {
	r := &compaction{Entries: b.entries, Conns: fillConns}
	if err := b.lifeOfALog(ctx, s, r); err != nil {
		return nil, fmt.Errorf("compaction: %w", err)
	}
	b.progress.show("build")
	before, err := buildStage(ctx, b.stage-1, b.dir)
	if err != nil {
		return nil, err
	}
	r.SnapshotBytes = snapshotEntries * (b.size + entryBytes)
	s.flags = []string{"-snapshot-bytes", fmt.Sprint(r.SnapshotBytes)}
	return r, b.snapshotCost(ctx, before.contender(), s.contender(), r)
}

// lifeOfALog makes a log long, and then looks what that means for a node that is started again, and for one that begins
// with nothing.
func (b *bench) lifeOfALog(ctx context.Context, s stage, r *compaction) (err error) {
	c, err := s.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	if err := b.lengthen(ctx, c, r); err != nil {
		return err
	}
	n := c.follower(lab.Node{})
	r.Node = n.ID
	b.progress.show("compaction: restart of %s", n.ID)
	if r.Applied, r.Restart, err = c.restart(ctx, n); err != nil {
		return fmt.Errorf("restart of %s: %w", n.ID, err)
	}
	b.progress.show("compaction: %s begins with nothing", n.ID)
	if err := b.refill(ctx, c, n, r); err != nil {
		return fmt.Errorf("%s begins with nothing: %w", n.ID, err)
	}
	return nil
}

// lengthen puts as often as the bench is to, and watches what the nodes keep of that.
func (b *bench) lengthen(ctx context.Context, c *cluster, r *compaction) error {
	w, err := b.startWriters(ctx, c, fillConns, int64(b.entries))
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		_, err := w.wait()
		done <- err
	}()
	r.Disks = make([]diskRow, len(c.Nodes()))
	again := time.NewTicker(samplePause)
	defer again.Stop()
	for running := true; running; {
		select {
		case <-again.C:
		case err := <-done:
			if err != nil {
				return err
			}
			running = false
		}
		b.progress.show("compaction: %s of %s", grouped(float64(w.begun.Load())), plural(b.entries, "put"))
		if err := c.measure(r.Disks); err != nil {
			w.stopped.Store(true)
			return errors.Join(err, <-done)
		}
	}
	c.leader, r.Again = w.leader, w.again.Load()
	all, err := c.settle(ctx)
	if err != nil {
		return err
	}
	for i, s := range all {
		row := &r.Disks[i]
		row.Node, row.Log, row.Entries = s.Node, s.LogBytes, s.Last-s.Snapshot
	}
	return c.measure(r.Disks)
}

// measure looks how large the nodes' directories are. A file that is gone meanwhile does not count.
func (c *cluster) measure(rows []diskRow) error {
	for i, n := range c.Nodes() {
		found, err := os.ReadDir(n.Dir)
		if err != nil {
			return err
		}
		rows[i].Bytes = 0
		for _, f := range found {
			if info, err := f.Info(); err == nil {
				rows[i].Bytes += info.Size()
			}
		}
		rows[i].Most = max(rows[i].Most, rows[i].Bytes)
	}
	return nil
}

// restart kills a node, and measures how long it takes to come back to where it was: to which entry it had applied.
func (c *cluster) restart(ctx context.Context, n lab.Node) (applied uint64, took micros, err error) {
	had, err := statusOf(ctx, n.Client)
	if err != nil {
		return 0, 0, err
	}
	if _, err := c.Run(ctx, "kill "+n.ID); err != nil {
		return 0, 0, err
	}
	began := time.Now()
	err = c.bringBack(ctx, n, func(s nodeStatus) bool { return s.Applied >= had.Applied })
	return had.Applied, inMicros(time.Since(began)), err
}

// refill takes all that a follower has from it, and has it start while clients put. It measures how long it takes to
// catch up, and how long they wait meanwhile, beside how long they did before.
func (b *bench) refill(ctx context.Context, c *cluster, n lab.Node, r *compaction) error {
	w, err := b.startWriters(ctx, c, fillConns, math.MaxInt64)
	if err != nil {
		return err
	}
	calm := sleep(ctx, calmLengths*b.length)
	before, err := w.stop()
	if err := cmp.Or(calm, err); err != nil {
		return err
	}
	c.leader, r.Again = w.leader, r.Again+w.again.Load()
	if err := c.wipe(ctx, n); err != nil {
		return err
	}
	if w, err = b.startWriters(ctx, c, fillConns, math.MaxInt64); err != nil {
		return err
	}
	started := time.Now()
	f := following{behind: b.length}
	err = c.bringBack(ctx, n, func(s nodeStatus) bool {
		leader, err := statusOf(ctx, c.leader)
		return err == nil && f.caughtUp(time.Now(), leader.Commit, s.Applied)
	})
	during, writeErr := w.stop()
	r.Again += w.again.Load()
	r.CatchUp = inMicros(f.since.Sub(started))
	r.P99Before = inMicros(latencies(before, time.Time{}, started).percentile(99))
	r.P99During = inMicros(latencies(during, started, f.since).percentile(99))
	return cmp.Or(err, writeErr)
}

// wipe kills a node and removes what it has. That breaks what it has promised (D§3.8), which is of no consequence while
// all others have the same and none of them fails. But the leader knows that the node has the log, and would not send
// that again. So then another leads, which knows nothing yet.
func (c *cluster) wipe(ctx context.Context, n lab.Node) error {
	if _, err := c.settle(ctx); err != nil {
		return err
	}
	if _, err := c.Run(ctx, "kill "+n.ID); err != nil {
		return err
	}
	if err := os.RemoveAll(n.Dir); err != nil {
		return err
	}
	next := c.follower(n)
	if _, err := c.Run(ctx, "lead "+next.ID+" => ok"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	leader, err := findLeader(ctx, c.Dial, c.addrs())
	c.leader = leader
	return err
}

// follower is the first node that does not lead, and is not the other one.
func (c *cluster) follower(other lab.Node) lab.Node {
	nodes := c.Nodes()
	return nodes[slices.IndexFunc(nodes, func(n lab.Node) bool { return n.Client != c.leader && n.ID != other.ID })]
}

// settle returns how all nodes are once they have applied what is committed now.
func (c *cluster) settle(ctx context.Context) ([]nodeStatus, error) {
	leader, err := statusOf(ctx, c.leader)
	if err != nil {
		return nil, err
	}
	var all []nodeStatus
	for _, n := range c.Nodes() {
		s, err := untilStatus(ctx, n, func(s nodeStatus) bool { return s.Applied >= leader.Commit })
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// bringBack starts a node, and returns once there says so of its status.
func (c *cluster) bringBack(ctx context.Context, n lab.Node, there func(nodeStatus) bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	started := make(chan struct{})
	go func() { // it also waits for what does not matter here
		defer close(started)
		if _, err := c.Run(ctx, "restart "+n.ID); err != nil {
			cancel(err)
		}
	}()
	_, err := untilStatus(ctx, n, there)
	<-started
	return err
}

// A following is how a leader gets on, and a follower behind it.
type following struct {
	// behind is how far the follower may be behind the leader once it has caught up, and for how long it must not be
	// further.
	behind time.Duration

	leader []mark    // the first is the last that is long ago, or the first of all
	since  time.Time // the follower has been close; zero if it is not
}

// A mark is a commit index at a time.
type mark struct {
	at    time.Time
	index uint64
}

// caughtUp takes in how far both are now. It reports whether the follower has, and has not been further behind since
// then than it may be.
func (f *following) caughtUp(now time.Time, leader, follower uint64) bool {
	f.leader = append(f.leader, mark{now, leader})
	for len(f.leader) > 1 && now.Sub(f.leader[1].at) >= f.behind {
		f.leader = f.leader[1:]
	}
	switch {
	case follower < f.leader[0].index:
		f.since = time.Time{}
	case f.since.IsZero():
		f.since = now
	}
	return !f.since.IsZero() && now.Sub(f.since) >= f.behind
}

// A nodeStatus is what a node says of itself, as far as it is of interest here.
type nodeStatus struct {
	Node     string `json:"node"`
	Last     uint64 `json:"last_index"`
	Commit   uint64 `json:"commit_index"`
	Applied  uint64 `json:"applied_index"`
	Snapshot uint64 `json:"snapshot_index"`
	LogBytes int64  `json:"log_bytes"`
}

func statusOf(ctx context.Context, addr string) (s nodeStatus, err error) {
	resp, err := ask(ctx, overTCP, addr, wire.Request{Op: "status"})
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(resp.Status, &s)
}

// untilStatus asks a node again and again until there says so of its status. While it does not answer it is not there.
func untilStatus(ctx context.Context, n lab.Node, there func(nodeStatus) bool) (nodeStatus, error) {
	late := fmt.Errorf("%s has not caught up after %v", n.ID, catchUpTime)
	ctx, cancel := context.WithTimeoutCause(ctx, catchUpTime, late)
	defer cancel()
	for {
		s, err := statusOf(ctx, n.Client)
		if err == nil && there(s) {
			return s, nil
		}
		if err := sleep(ctx, pollPause); err != nil {
			return s, err
		}
	}
}

// sleep waits, and returns why ctx has ended if it ends before.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// writers are clients that put, one put after the other on each connection. Where a put is not answered rightly they look
// for the leader, and put it again.
type writers struct {
	load    load
	addrs   []string // of all nodes
	limit   int64    // how many puts there are at most
	workers []*worker
	running sync.WaitGroup
	begun   atomic.Int64 // puts, and tries beyond the limit
	again   atomic.Int64 // how many times one was put again
	stopped atomic.Bool
	puts    [][]put // of each worker
	failed  []error

	mu     sync.Mutex
	leader string // its address, as far as it is known
}

// A put is one that was answered: when it was sent first, and how long the answer took.
type put struct {
	at   time.Time
	took time.Duration
}

// startWriters starts clients that put limit times at most, all together.
func (b *bench) startWriters(ctx context.Context, c *cluster, conns int, limit int64) (*writers, error) {
	w := &writers{load: load{op: "put", conns: conns, size: b.size, keys: b.keys, connect: c.Dial}, addrs: c.addrs(), leader: c.leader}
	return w, w.start(ctx, limit)
}

func (w *writers) start(ctx context.Context, limit int64) (err error) {
	w.limit, w.puts, w.failed = limit, make([][]put, w.load.conns), make([]error, w.load.conns)
	if w.workers, err = dial(ctx, w.leader, w.load, w.load.conns); err != nil {
		return err
	}
	for i := range w.workers {
		w.running.Go(func() {
			if w.failed[i] = w.run(ctx, i); w.failed[i] != nil {
				w.stopped.Store(true)
			}
		})
	}
	return nil
}

// stop lets all come to an end, and returns what they have put.
func (w *writers) stop() ([]put, error) {
	w.stopped.Store(true)
	return w.wait()
}

// wait returns what all have put, once they have come to their end.
func (w *writers) wait() ([]put, error) {
	w.running.Wait()
	hangUp(w.workers)
	return slices.Concat(w.puts...), cmp.Or(w.failed...)
}

func (w *writers) run(ctx context.Context, i int) error {
	worker := w.workers[i]
	for ctx.Err() == nil && !w.stopped.Load() && w.begun.Add(1) <= w.limit {
		sent, key := time.Now(), worker.random.IntN(w.load.keys)
		for !worker.puts(key) {
			w.again.Add(1)
			if err := w.moveOn(ctx, worker); err != nil {
				return err
			}
		}
		w.puts[i] = append(w.puts[i], put{sent, time.Since(sent)})
	}
	return ctx.Err()
}

// puts reports whether a put was answered rightly.
func (w *worker) puts(key int) bool {
	w.conn.SetDeadline(time.Now().Add(stall))
	return w.mustAsk(w.put, key) == nil
}

// moveOn connects a worker to the leader, which is looked for if it is not one that another worker has found since.
func (w *writers) moveOn(ctx context.Context, worker *worker) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if worker.conn.RemoteAddr().String() == w.leader {
		ctx, cancel := context.WithTimeout(ctx, startTimeout)
		defer cancel()
		leader, err := findLeader(ctx, w.load.connect, w.addrs)
		if err != nil {
			return err
		}
		w.leader = leader
	}
	fresh, err := dial(ctx, w.leader, w.load, 1)
	if err != nil {
		return err
	}
	worker.conn.Close()
	worker.conn, worker.in = fresh[0].conn, fresh[0].in
	return nil
}

// latencies are those of the puts that were sent in a time.
func latencies(puts []put, from, to time.Time) *histogram {
	h := new(histogram)
	for _, p := range puts {
		if !p.at.Before(from) && p.at.Before(to) {
			h.add(p.took)
		}
	}
	return h
}

// snapshotCost measures what a put costs a stage that takes many snapshots, beside the stage before.
func (b *bench) snapshotCost(ctx context.Context, before, stage contender, r *compaction) error {
	some := *b
	some.ops, some.conns, some.length, some.durable = []string{"put"}, []int{fillConns}, calmLengths*b.length, false
	samples, err := some.measureAll(ctx, []contender{before, stage})
	if err != nil {
		return err
	}
	r.Errors = map[string]int{}
	of := map[string][]sample{}
	for _, s := range samples {
		for what, n := range s.errors {
			r.Errors[what] += n
		}
		of[s.server] = append(of[s.server], s)
	}
	r.Before = before.name
	r.CPU, r.CPUBefore = micros(medianOf(of[stage.name], sample.cpuPerOp)), micros(medianOf(of[before.name], sample.cpuPerOp))
	r.CPUVsBefore = medianRatio(of[stage.name], of[before.name], sample.cpuPerOp)
	return nil
}

// print writes it for people.
func (r *compaction) print(w io.Writer) {
	fmt.Fprintf(w, "\ncompaction: %s with %s; then\n\n", plural(r.Entries, "put"), plural(r.Conns, "connection"))
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(table, "node\tmost on disk\ton disk\tthe log of it\tentries after the snapshot\t\n")
	for _, d := range r.Disks {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t\n", d.Node, megabytes(d.Most), megabytes(d.Bytes), megabytes(d.Log), grouped(float64(d.Entries)))
	}
	table.Flush()
	fmt.Fprintln(w)

	line := func(time micros, ratio float64, format string, args ...any) {
		fmt.Fprintf(w, "%-64s%8s", fmt.Sprintf(format, args...), time)
		if ratio > 0 {
			fmt.Fprintf(w, "%8.2f times", ratio)
		}
		fmt.Fprintln(w)
	}
	line(r.Restart, 0, "%s, killed, has applied its %s entries again after", r.Node, grouped(float64(r.Applied)))
	line(r.CatchUp, 0, "%s, started with nothing while clients put, has caught up after", r.Node)
	line(r.P99Before, 0, "p99 of these puts before")
	line(r.P99During, float64(r.P99During/r.P99Before), "p99 until it has")
	line(r.CPUBefore, 0, "cpu/op of a put, %s", r.Before)
	line(r.CPU, r.CPUVsBefore, "cpu/op with a snapshot every %s of log", megabytes(int64(r.SnapshotBytes)))
	if r.Again > 0 {
		fmt.Fprintf(w, "put again, because the leader was lost: %d\n", r.Again)
	}
	if len(r.Errors) > 0 {
		fmt.Fprintf(w, "errors where cpu/op was measured: %s\n", list(r.Errors))
	}
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
