// Load measures a stage under load, beside the least that a server could do on the same machine; or all stages side by
// side, in tables for the workbook's README.
//
//	go run ./common/load -stage 0
//	go run ./common/load all
//
// It is a closed loop: every connection has one request outstanding, and sends the next when the
// answer has come and has been checked. Two limits stand beside the stage, in the same run:
//
//   - echo, a server that sends every line back: no server of lines in Go does less;
//   - durable, which appends every line to a file first, and flushes once for all that arrived
//     meanwhile: no server that keeps its promises does less on this disk.
//
// The stage is a whole cluster: each node a process, links and clients on loopback, real flushes to files in
// $TMPDIR or /var/tmp. Clients talk to the leader.
//
// A machine that is shared changes its speed from one second to the next. So the three take turns,
// what counts is their ratio within a round, and the report gives the median of the rounds. The
// processor time of all processes together, the servers and the generator, is steadier than the
// throughput, and says what an operation costs.
//
// From stage 6 on it then puts a million times (-entries), and reports how short the log stays, how long a node takes to
// come back, one whose disk is empty to catch up, and what that and the snapshots cost. See compaction.go.
//
// All stages side by side take turns in the same way. What they do beside answering is in overview.go.
//
// The two limits are processes of this same binary: load echo, and load durable FILE.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Bounds of what the command line may ask for.
const (
	maxConns  = 4096
	maxSize   = 128 << 10 // of the protocol
	maxKeys   = 1_000_000
	minRounds = 3 // a median of fewer is none
	maxRounds = 99
	maxLength = time.Minute

	maxEntries = 100_000_000
)

// firstDurableStage is the first stage that flushes before it answers, and so is compared with durable.
const firstDurableStage = 3

// firstSnapshotStage is the first stage that cuts its log, of which more is measured.
const firstSnapshotStage = 6

// errUsage is wrapped by an error of the command line.
var errUsage = errors.New("load")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp): // it has been given
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

// run does what args ask for, until it is done or ctx ends.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) error {
	if len(args) == 1 && args[0] == "echo" {
		return runEcho(whileRead(ctx, stdin), stdout)
	}
	if len(args) == 2 && args[0] == "durable" {
		return runDurable(whileRead(ctx, stdin), stdout, args[1])
	}
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	return compare(ctx, o, stdout, stderr)
}

// options are the command line.
type options struct {
	all     bool // stages, side by side
	stage   int
	ops     []string
	conns   []int
	size    int // of a value, in bytes
	keys    int
	length  time.Duration // of one measurement
	rounds  int
	durable bool
	json    bool
	entries int // how many puts there are before compaction is measured; 0 if it is not
}

// parse reads the command line. Its error wraps [errUsage], or is [flag.ErrHelp].
func parse(args []string, stderr io.Writer) (options, error) {
	if len(args) > 0 && args[0] == "all" {
		return parseAll(args[1:], stderr)
	}
	var o options
	var conns, op string
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	f.IntVar(&o.stage, "stage", 0, "the `stage` to measure")
	f.StringVar(&conns, "c", "1,16,64,256", "how many `connections`, a list")
	f.StringVar(&op, "op", "", "put, get or mix (default put, then get)")
	f.IntVar(&o.size, "size", 100, "size of a value in `bytes`")
	f.IntVar(&o.keys, "keys", 10_000, "how many `keys`")
	f.BoolVar(&o.durable, "durable", false, fmt.Sprintf("measure the durable limit below stage %d too", firstDurableStage))
	f.IntVar(&o.entries, "entries", 1_000_000, fmt.Sprintf("how many `puts` before compaction is measured, from stage %d on; 0: it is not", firstSnapshotStage))
	o.addFlags(f, time.Second)
	if err := parseFlags(f, args, stderr); err != nil {
		return o, err
	}
	o.durable = o.durable || o.stage >= firstDurableStage
	o.ops = []string{"put", "get"}
	if op != "" {
		o.ops = []string{op}
	}
	for c := range strings.SplitSeq(conns, ",") {
		n, err := strconv.Atoi(c)
		if err != nil {
			return o, fmt.Errorf("%w: -c %s: not a list of numbers", errUsage, conns)
		}
		o.conns = append(o.conns, n)
	}
	return o, o.check()
}

// parseAll is parse after "all".
func parseAll(args []string, stderr io.Writer) (options, error) {
	o := options{all: true, ops: []string{"put", "get"}, conns: []int{1, 64, 256}, size: 100, keys: 1000, entries: 100_000}
	f := flag.NewFlagSet("load all", flag.ContinueOnError)
	o.addFlags(f, time.Second/2)
	if err := parseFlags(f, args, stderr); err != nil {
		return o, err
	}
	return o, o.check()
}

// addFlags adds those that one stage and all have.
func (o *options) addFlags(f *flag.FlagSet, length time.Duration) {
	f.DurationVar(&o.length, "for", length, "`length` of one measurement")
	f.IntVar(&o.rounds, "rounds", minRounds, "how many `rounds`")
	f.BoolVar(&o.json, "json", false, "report in JSON")
}

// parseFlags reads a command line that has nothing but flags.
func parseFlags(f *flag.FlagSet, args []string, stderr io.Writer) error {
	f.SetOutput(io.Discard)
	switch err := f.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		f.SetOutput(stderr)
		fmt.Fprintf(stderr, "usage: %s [flags]\n", f.Name())
		f.PrintDefaults()
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", errUsage, err)
	case f.NArg() > 0:
		return fmt.Errorf("%w: unknown command %q", errUsage, f.Arg(0))
	}
	return nil
}

// check says what is out of bounds.
func (o options) check() error {
	badOp := func(op string) bool { return op != "put" && op != "get" && op != "mix" }
	badConns := func(n int) bool { return n < 1 || n > maxConns }
	for _, c := range []struct {
		bad  bool
		rule string
	}{
		{o.stage < 0, "-stage must not be negative"},
		{slices.ContainsFunc(o.ops, badOp), "-op must be put, get or mix"},
		{slices.ContainsFunc(o.conns, badConns), fmt.Sprintf("-c must be from 1 to %d each", maxConns)},
		{o.size < 0 || o.size > maxSize, fmt.Sprintf("-size must be from 0 to %d", maxSize)},
		{o.keys < 1 || o.keys > maxKeys, fmt.Sprintf("-keys must be from 1 to %d", maxKeys)},
		{o.length <= 0 || o.length > maxLength, fmt.Sprintf("-for must be above 0 and at most %v", maxLength)},
		{o.entries < 0 || o.entries > maxEntries, fmt.Sprintf("-entries must be from 0 to %d", maxEntries)},
		{o.rounds < minRounds || o.rounds > maxRounds, fmt.Sprintf("-rounds must be from %d to %d", minRounds, maxRounds)},
	} {
		if c.bad {
			return fmt.Errorf("%w: %s", errUsage, c.rule)
		}
	}
	return nil
}

// filesDir is where the files of a run are. /tmp may be memory, where a flush does nothing; what is in /var/tmp
// outlives a restart of the machine, and so is on a disk.
func filesDir() string { return cmp.Or(os.Getenv("TMPDIR"), "/var/tmp") }

// A finding is what a run has found.
type finding interface {
	print(io.Writer) error
	errors() int // requests that got no right answer
}

// compare measures the stage beside the limits, or all stages, and prints the report. Answers that were errors are in
// the report, and make it fail.
func compare(ctx context.Context, o options, stdout, stderr io.Writer) (err error) {
	dir, err := os.MkdirTemp(filesDir(), "load-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	b := bench{options: o, dir: dir, progress: newProgress(stderr)}
	var r finding
	if o.all {
		r, err = b.overview(ctx)
	} else {
		r, err = b.run(ctx)
	}
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	if err != nil {
		return err
	}
	if o.json {
		encoder := json.NewEncoder(stdout)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(r)
	} else {
		err = r.print(stdout)
	}
	if n := r.errors(); n > 0 {
		err = errors.Join(err, fmt.Errorf("%d requests got no right answer", n))
	}
	return err
}
