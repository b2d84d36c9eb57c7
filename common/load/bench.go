package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// idleConns is how many connections the idle measurement opens.
const idleConns = 256

// flushes is how often a round asks the disk to flush, to learn how long that takes.
const flushes = 100

// A bench is one run of the comparison.
type bench struct {
	options
	// dir is for files of the run, and gone after it.
	dir      string
	progress *progress
	// flushes has what flushTime says in each round.
	flushes []float64
}

// A cell is what is measured of each contender in each round.
type cell struct {
	op    string
	conns int
}

// A sample is one measurement.
type sample struct {
	cell
	server string
	round  int
	result
	// cpu is the processor time of all processes, less what starting, filling and stopping take.
	cpu time.Duration
}

// run measures, and returns early when ctx ends.
func (b *bench) run(ctx context.Context) (report, error) {
	defer b.progress.clear()
	r := report{Stage: b.stage, Nodes: nodes(b.stage), setting: b.setting()}
	b.progress.show("build")
	s, err := buildStage(ctx, b.stage, b.dir)
	if err != nil {
		return r, err
	}
	contenders := []contender{echoLimit(), s.contender()}
	if b.durable {
		contenders = append(contenders, durableLimit(filepath.Join(b.dir, "lines")))
	}
	if r.Idle, err = b.idle(ctx, contenders[:2]); err != nil {
		return r, err
	}
	samples, err := b.measureAll(ctx, contenders)
	if err != nil {
		return r, err
	}
	r.Rows = summarize(samples)
	if b.durable {
		r.Dir, r.Flush = filepath.Dir(b.dir), micros(median(b.flushes))
	}
	if b.stage >= firstSnapshotStage && b.entries > 0 {
		r.Compaction, err = b.compaction(ctx, s)
	}
	return r, err
}

// measureAll has every contender measured in every cell once a round. The contenders of a cell follow
// one another at once, so that their ratio is of the same moment; the rounds of a cell are far apart, so
// that a bad moment spoils one of them at most.
func (b *bench) measureAll(ctx context.Context, contenders []contender) ([]sample, error) {
	var samples []sample
	for round := 1; round <= b.rounds; round++ {
		if b.durable {
			b.progress.show("round %d of %d: disk", round, b.rounds)
			flush, err := flushTime(filepath.Join(b.dir, "flush"), b.size)
			if err != nil {
				return nil, err
			}
			b.flushes = append(b.flushes, float64(flush))
		}
		for _, cell := range b.cells() {
			for _, c := range contenders {
				b.progress.show("round %d of %d: %s, %s, %s",
					round, b.rounds, cell.op, plural(cell.conns, "connection"), c.name)
				s, err := b.measure(ctx, c, cell)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", c.name, err)
				}
				s.round = round
				samples = append(samples, s)
			}
		}
	}
	return samples, nil
}

func (b *bench) cells() []cell {
	var cells []cell
	for _, op := range b.ops {
		for _, conns := range b.conns {
			cells = append(cells, cell{op, conns})
		}
	}
	return cells
}

// measure puts load on a contender, and then does the same for no time at all, to know what everything
// but the load has cost.
func (b *bench) measure(ctx context.Context, c contender, cell cell) (sample, error) {
	l := load{op: cell.op, conns: cell.conns, size: b.size, keys: b.keys, length: b.length, echoed: c.echoes}
	r, cpu, err := cost(ctx, c, l)
	if err != nil {
		return sample{}, err
	}
	if r.good == 0 {
		return sample{}, fmt.Errorf("no right answer to any %s: %s", cell.op, list(r.errors))
	}
	l.length = 0
	_, rest, err := cost(ctx, c, l)
	return sample{cell: cell, server: c.name, result: r, cpu: cpu - rest}, err
}

// cost starts a server, puts load on it, and stops it. Only then is the processor time of all processes
// known.
func cost(ctx context.Context, c contender, l load) (result, time.Duration, error) {
	before := processorTime()
	s, err := c.start(ctx)
	if err != nil {
		return result{}, 0, err
	}
	l.connect = s.connect
	r, err := drive(ctx, s.addr, l)
	if stopErr := s.stop(); err == nil {
		err = stopErr
	}
	return r, processorTime() - before, err
}

// idle measures what open connections cost each contender in memory.
func (b *bench) idle(ctx context.Context, contenders []contender) ([]idleRow, error) {
	var rows []idleRow
	for _, c := range contenders {
		b.progress.show("idle connections, %s", c.name)
		s, err := c.start(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		cost, err := idleMemory(ctx, s, load{size: b.size, keys: b.keys, echoed: c.echoes, connect: s.connect})
		if stopErr := s.stop(); err == nil {
			err = stopErr
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		rows = append(rows, idleRow{Server: c.name, Conns: idleConns, Bytes: cost})
	}
	return rows, nil
}

// idleMemory is by how many bytes the server grows with idleConns connections that have had one answer
// each. One connection comes before, so that what the first request ever loads is not counted.
func idleMemory(ctx context.Context, s *server, l load) (int64, error) {
	var held [2]int64
	for i, n := range []int{1, idleConns} {
		workers, err := dial(ctx, s.addr, l, n)
		if err != nil {
			return 0, err
		}
		defer hangUp(workers)
		for _, w := range workers {
			w.conn.SetDeadline(time.Now().Add(stall))
			if err := w.mustAsk(w.put, 0); err != nil {
				return 0, err
			}
		}
		if held[i], err = childrenMemory(); err != nil {
			return 0, err
		}
	}
	return held[1] - held[0], nil
}

// flushTime is the median time to append size bytes to the file at path and flush them.
func flushTime(path string, size int) (micros, error) {
	file, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	j := newJournal(file)
	line := []byte(value(size) + "\n")
	var times histogram
	for range flushes {
		start := time.Now()
		if err := j.flush(line); err != nil {
			return 0, err
		}
		times.add(time.Since(start))
	}
	return inMicros(times.percentile(50)), nil
}
