// Load measures a stage under load, beside the least that a server could do on the same machine.
//
//	go run ./common/load -stage 0
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
	var o options
	var conns, op string
	f := flag.NewFlagSet("load", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.IntVar(&o.stage, "stage", 0, "the `stage` to measure")
	f.StringVar(&conns, "c", "1,16,64,256", "how many `connections`, a list")
	f.StringVar(&op, "op", "", "put, get or mix (default put, then get)")
	f.IntVar(&o.size, "size", 100, "size of a value in `bytes`")
	f.IntVar(&o.keys, "keys", 10_000, "how many `keys`")
	f.DurationVar(&o.length, "for", time.Second, "`length` of one measurement")
	f.IntVar(&o.rounds, "rounds", minRounds, "how many `rounds`")
	f.BoolVar(&o.durable, "durable", false, fmt.Sprintf("measure the durable limit below stage %d too", firstDurableStage))
	f.IntVar(&o.entries, "entries", 1_000_000, fmt.Sprintf("how many `puts` before compaction is measured, from stage %d on; 0: it is not", firstSnapshotStage))
	f.BoolVar(&o.json, "json", false, "report in JSON")

	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		f.SetOutput(stderr)
		fmt.Fprintln(stderr, "usage: load [flags]")
		f.PrintDefaults()
		return o, err
	} else if err != nil {
		return o, fmt.Errorf("%w: %w", errUsage, err)
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
	if f.NArg() > 0 {
		return o, fmt.Errorf("%w: unknown command %q", errUsage, f.Arg(0))
	}
	return o, o.check()
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

// compare measures the stage beside the limits and prints the report. Answers that were errors are in
// the report, and make it fail.
func compare(ctx context.Context, o options, stdout, stderr io.Writer) (err error) {
	dir, err := os.MkdirTemp(filesDir(), "load-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	b := bench{options: o, dir: dir, progress: newProgress(stderr)}
	r, err := b.run(ctx)
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
