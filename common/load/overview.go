package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"raftworkbook/common/lab"
	"raftworkbook/common/stages/tree"
)

// overwritten is how many entries there are for each key when a node starts again.
const overwritten = 10

// The stages from which on nodes choose who leads, and may speak TLS.
const (
	firstElectionStage = 5
	firstTLSStage      = 7
)

// An overview is what a run has found of all stages side by side.
type overview struct {
	Processor string `json:"processor"`
	setting
	Rows  []row  `json:"rows"`
	Lives []life `json:"lives"`
	// Entries is how many puts a node has in its log when it starts again.
	Entries int    `json:"entries"`
	Steps   []step `json:"steps"`
}

// A life is what a cluster needs and does beside answering.
type life struct {
	Stage  int    `json:"stage"`
	Server string `json:"server"`
	Nodes  int    `json:"nodes"`
	// Idle is what the leader holds in memory before all puts, Full what it does after.
	Idle int64 `json:"idle_bytes"`
	Full int64 `json:"full_bytes"`
	// Restart is the time from the start of a follower until it has applied all of them again; 0 if it keeps none.
	Restart micros `json:"restart_us,omitempty"`
	// FailOver is the longest time between two puts of one client when the leader is killed; 0 if nobody takes its place.
	FailOver micros `json:"fail_over_us,omitempty"`
}

// A step is the processor time of a stage's operations as a ratio to the stage before: the median of the rounds.
type step struct {
	Server string  `json:"server"`
	Conns  int     `json:"connections"`
	Put    float64 `json:"put"`
	Get    float64 `json:"get"`
}

// overview measures all stages.
func (b *bench) overview(ctx context.Context) (overview, error) {
	defer b.progress.clear()
	found, err := findStages()
	if err != nil {
		return overview{}, err
	}
	var stages []stage
	for _, f := range found {
		b.progress.show("build stage %d", f.Number)
		s, err := buildStage(ctx, f.Number, b.dir)
		if err != nil {
			return overview{}, err
		}
		s.name = title(f)
		stages = append(stages, s)
	}
	return b.sideBySide(ctx, stages)
}

// title is what a stage is called in the tables: 3 log replication.
func title(s tree.Stage) string {
	return strings.ReplaceAll(strings.TrimPrefix(s.Name, "stage"), "-", " ")
}

// sideBySide measures stages that are built.
func (b *bench) sideBySide(ctx context.Context, stages []stage) (overview, error) {
	r := overview{Processor: processor(), setting: b.setting(), Entries: b.entries}
	all := withTLS(stages)
	samples, err := b.measureStages(ctx, all)
	if err != nil {
		return r, err
	}
	r.Rows, r.Steps = summarize(samples), steps(samples, all, b.conns[len(b.conns)/2])
	for _, s := range stages {
		l, err := b.life(ctx, s)
		if err != nil {
			return r, fmt.Errorf("%s: %w", s.name, err)
		}
		r.Lives = append(r.Lives, l)
	}
	r.Flush = micros(median(b.flushes))
	return r, nil
}

// withTLS adds the last stage once more, if it can prove who it is.
func withTLS(stages []stage) []stage {
	last := stages[len(stages)-1]
	if last.number < firstTLSStage {
		return stages
	}
	last.name += ", with TLS"
	last.tls = true
	return append(slices.Clone(stages), last)
}

// measureStages has them take turns with echo and, where they put, with durable.
func (b *bench) measureStages(ctx context.Context, stages []stage) ([]sample, error) {
	contenders := []contender{echoLimit()}
	for _, s := range stages {
		contenders = append(contenders, s.contender())
	}
	b.ops, b.durable = []string{"get"}, false
	gets, err := b.measureAll(ctx, contenders)
	if err != nil {
		return nil, err
	}
	b.ops, b.durable = []string{"put"}, true
	puts, err := b.measureAll(ctx, slices.Insert(contenders, 1, durableLimit(filepath.Join(b.dir, "lines"))))
	return slices.Concat(puts, gets), err
}

// steps compares each stage but the first with the one before.
func steps(samples []sample, stages []stage, conns int) []step {
	of := func(op string, s stage) []sample {
		return slices.DeleteFunc(slices.Clone(samples), func(o sample) bool {
			return o.cell != cell{op, conns} || o.server != s.name
		})
	}
	ratio := func(op string, i int) float64 {
		return medianRatio(of(op, stages[i]), of(op, stages[i-1]), sample.cpuPerOp)
	}
	var all []step
	for i := 1; i < len(stages); i++ {
		all = append(all, step{stages[i].name, conns, ratio("put", i), ratio("get", i)})
	}
	return all
}

// life measures what a stage does beside answering.
func (b *bench) life(ctx context.Context, s stage) (life, error) {
	l := life{Stage: s.number, Server: s.name, Nodes: nodes(s.number)}
	if err := b.grow(ctx, s, &l); err != nil {
		return l, err
	}
	if s.number < firstElectionStage {
		return l, nil
	}
	var took []float64
	failOvers := 2*b.rounds - 1 // they differ more than all else
	for i := range failOvers {
		b.progress.show("%s: fail-over %d of %d", s.name, i+1, failOvers)
		gap, err := b.failOver(ctx, s)
		if err != nil {
			return l, fmt.Errorf("fail-over: %w", err)
		}
		took = append(took, float64(gap))
	}
	l.FailOver = micros(median(took))
	return l, nil
}

// grow fills a cluster, and looks how much memory that takes and how long a follower needs to come back.
func (b *bench) grow(ctx context.Context, s stage, l *life) (err error) {
	b.progress.show("%s: %s", s.name, plural(b.entries, "put"))
	c, err := s.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	if l.Idle, err = nodeMemory(c.leading().ID); err != nil {
		return err
	}
	few := *b
	few.keys = max(1, b.entries/overwritten)
	w, err := few.startWriters(ctx, c, fillConns, int64(b.entries))
	if err != nil {
		return err
	}
	_, err = w.wait()
	if c.leader = w.leader; err != nil {
		return err
	}
	if l.Full, err = nodeMemory(c.leading().ID); err != nil || s.number < firstDurableStage {
		return err
	}
	if _, err := c.settle(ctx); err != nil {
		return err
	}
	var took []float64
	for i := range b.rounds {
		b.progress.show("%s: restart %d of %d", s.name, i+1, b.rounds)
		_, once, err := c.restart(ctx, c.follower(lab.Node{}))
		if err != nil {
			return fmt.Errorf("restart: %w", err)
		}
		took = append(took, float64(once))
	}
	l.Restart = micros(median(took))
	return nil
}

// failOver kills the leader while one client puts, and returns how long that waited at most for an answer.
func (b *bench) failOver(ctx context.Context, s stage) (gap micros, err error) {
	c, err := s.start(ctx)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	w, err := b.startWriters(ctx, c, 1, math.MaxInt64)
	if err != nil {
		return 0, err
	}
	killed := func() error {
		if err := sleep(ctx, b.length); err != nil {
			return err
		}
		if _, err := c.Run(ctx, "kill "+c.leading().ID); err != nil {
			return err
		}
		for sent := w.begun.Load(); w.begun.Load() < sent+2 && !w.stopped.Load(); { // that under way may have its answer
			if err := sleep(ctx, pollPause); err != nil {
				return err
			}
		}
		return nil
	}()
	puts, err := w.stop()
	return inMicros(longestGap(puts)), errors.Join(killed, err)
}

// leading is the node that leads, as far as is known.
func (c *cluster) leading() lab.Node {
	nodes := c.Nodes()
	return nodes[slices.IndexFunc(nodes, func(n lab.Node) bool { return n.Client == c.leader })]
}

// longestGap is the longest time between two answers to the puts of one client.
func longestGap(puts []put) time.Duration {
	var longest time.Duration
	for i := 1; i < len(puts); i++ {
		longest = max(longest, puts[i].answered().Sub(puts[i-1].answered()))
	}
	return longest
}

func (p put) answered() time.Time { return p.at.Add(p.took) }

// errors is how many requests got no right answer.
func (o overview) errors() int { return errorsOf(o.Rows) }

// print writes the overview in Markdown, as it stands in the workbook's README.
func (o overview) print(w io.Writer) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s, %s, %s, %s. Values of %s, %s, %s of %s.\nTo append one value to a file and flush it takes %s.\n",
		o.Processor, plural(o.Cores, "core"), o.System, o.Go, plural(o.Size, "byte"), plural(o.Keys, "key"),
		plural(o.Rounds, "round"), time.Duration(o.Seconds*float64(time.Second)), o.Flush)

	out.WriteString("\nThroughput, as a ratio to echo:\n\n")
	o.printRows(&out, func(r row) string { return grouped(r.Throughput) + "/s" }, func(r row) float64 { return r.ThroughputVsEcho })
	out.WriteString("\nProcessor time of an operation, as a ratio to echo:\n\n")
	o.printRows(&out, func(r row) string { return r.CPU.String() }, func(r row) float64 { return r.CPUVsEcho })

	fmt.Fprintf(&out, "\nThe leader's memory before and after %s, the restart of a follower that has them, and fail-over:\n\n",
		plural(o.Entries, "put"))
	lives := [][]string{{"stage", "nodes", "idle", "full", "restart", "fail-over"}}
	for _, l := range o.Lives {
		restart := "·"
		if l.Restart > 0 {
			restart = l.Restart.String()
		}
		lives = append(lives, []string{l.Server, strconv.Itoa(l.Nodes), megabytes(l.Idle), megabytes(l.Full), restart, l.failOver()})
	}
	printTable(&out, lives)

	fmt.Fprintf(&out, "\nProcessor time with %s, as a ratio to the stage before:\n\n", plural(o.Steps[0].Conns, "connection"))
	steps := [][]string{{"stage", "put", "get"}}
	for _, s := range o.Steps {
		steps = append(steps, []string{s.Server, ratio(s.Put), ratio(s.Get)})
	}
	printTable(&out, steps)
	if o.errors() > 0 {
		out.WriteString("\n")
		printErrors(&out, o.Rows)
	}
	_, err := w.Write(out.Bytes())
	return err
}

// failOver is how long it takes until another leads, or what that takes in place of time.
func (l life) failOver() string {
	switch {
	case l.Stage < firstDurableStage:
		return "never"
	case l.Stage < firstElectionStage:
		return "by order"
	}
	return l.FailOver.String()
}

// printRows writes a line for each contender and a column for each cell: base of echo, and ratio of the others.
func (o overview) printRows(w io.Writer, base func(row) string, vsEcho func(row) float64) {
	table := [][]string{{"connections"}}
	line := map[string]int{}
	column := map[cell]int{}
	for _, r := range o.Rows {
		if c := (cell{r.Op, r.Conns}); column[c] == 0 {
			column[c] = len(table[0])
			table[0] = append(table[0], fmt.Sprintf("%s, %d", r.Op, r.Conns))
		}
		if line[r.Server] == 0 {
			line[r.Server] = len(table)
			table = append(table, []string{r.Server})
		}
	}
	for i := range table[1:] {
		for len(table[i+1]) < len(table[0]) {
			table[i+1] = append(table[i+1], "·")
		}
	}
	for _, r := range o.Rows {
		text := base(r)
		if r.Server != "echo" {
			text = ratio(vsEcho(r))
		}
		table[line[r.Server]][column[cell{r.Op, r.Conns}]] = text
	}
	printTable(w, table)
}

// printTable writes a table in Markdown, the first line of which are its headings.
func printTable(w io.Writer, lines [][]string) {
	for i, line := range lines {
		fmt.Fprintf(w, "| %s |\n", strings.Join(line, " | "))
		if i == 0 {
			fmt.Fprintf(w, "|---|%s\n", strings.Repeat("--:|", len(line)-1))
		}
	}
}

// ratio is n with two digits, or more before the point: 0.021, 1.4, 12, 345. Nothing to compare with is 0.
func ratio(n float64) string {
	if n == 0 {
		return "·"
	}
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(n, 'e', 1, 64), 64)
	return strconv.FormatFloat(n, 'f', max(0, 1-int(math.Floor(math.Log10(rounded)))), 64)
}
