package lab

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"
)

// Exit statuses.
const (
	succeeded = 0
	failed    = 1
	misused   = 2
)

// echoTime is how far apart two signals are that mean the same: timeout(1) and shells send one to the
// process and one to its group.
const echoTime = 200 * time.Millisecond

// Command is the "lab" command of a stage: it starts a cluster of nodes nodes, unless args say otherwise,
// and takes commands from a scene, a pipe or a prompt. It returns the exit status: 0, 1 if something
// failed, 2 if args are wrong.
func Command(stage, nodes int, args []string) int {
	opt := Options{Stage: stage}
	flags := flag.NewFlagSet("lab", flag.ContinueOnError)
	flags.IntVar(&opt.Nodes, "nodes", nodes, "how `many` nodes to start")
	flags.StringVar(&opt.Dir, "dir", "", "keep the nodes' data in this `directory`, not in a temporary one")
	flags.Func("flags", "more `flags` for every node: '-election 1s'", func(list string) error {
		opt.Flags = strings.Fields(list)
		return nil
	})
	flags.BoolVar(&opt.TLS, "tls", false, "have nodes and clients prove who they are, by certificates of this run (stage 7)")
	scene := ""
	flags.Func("scene", "play this `file` of commands, then end", func(name string) error {
		if scene = name; name == "" {
			return errors.New("a file has a name")
		}
		return nil
	})
	flags.Usage = func() {} // an error is one line
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		flags.SetOutput(os.Stdout)
		fmt.Println("usage: lab [flags]")
		flags.PrintDefaults()
		return succeeded
	case err != nil:
		return misused
	case flags.NArg() > 0:
		return complain(misused, fmt.Errorf("lab takes flags only, not %q", flags.Arg(0)))
	case opt.Nodes < 1:
		return complain(misused, fmt.Errorf("-nodes is at least 1, not %d", opt.Nodes))
	}
	if err := opt.check(); err != nil {
		return complain(misused, err)
	}
	opt.Out = os.Stderr
	switch {
	case scene != "":
		return playFile(opt, scene)
	case term.IsTerminal(int(os.Stdin.Fd())) && term.IsTerminal(int(os.Stdout.Fd())):
		return converse(opt)
	default:
		return runLab(opt, nil, playPipe)
	}
}

// playFile plays a scene.
func playFile(opt Options, name string) int {
	f, err := os.Open(name)
	if err != nil {
		return complain(failed, err)
	}
	defer f.Close()
	s := plain
	if term.IsTerminal(int(os.Stdout.Fd())) {
		s = terminalStyle()
	}
	return runLab(opt, nil, func(ctx context.Context, l *Lab) int {
		if err := l.scene(ctx, f, os.Stdout, s); err != nil && ctx.Err() == nil {
			return complain(failed, fmt.Errorf("%s: %w", name, err))
		}
		return succeeded
	})
}

// playPipe carries out what comes on standard input, to its end. Only answers go to standard output.
func playPipe(ctx context.Context, l *Lab) int {
	status := succeeded
	p := player{lab: l, out: os.Stdout, failed: func(err error) bool {
		status = complain(failed, err)
		return true
	}}
	if err := p.play(ctx, os.Stdin); err != nil && ctx.Err() == nil {
		return complain(failed, err)
	}
	return status
}

// converse takes commands from a terminal.
func converse(opt Options) int {
	p, err := newPrompt()
	if err != nil {
		return complain(failed, err)
	}
	defer p.end()
	opt.Out = p
	return runLab(opt, p, func(ctx context.Context, l *Lab) int {
		if err := p.run(ctx, l); err != nil && ctx.Err() == nil {
			return complain(failed, err)
		}
		return succeeded
	})
}

// runLab starts a lab, lets talk use it, and closes it, also when a signal ends all that before. It does
// not wait for whoever should read the terminal or standard error.
func runLab(opt Options, p *prompt, talk func(context.Context, *Lab) int) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	// A write that nobody reads is an error where it happens, be it to standard output or, in the
	// forwarder, to a node that was killed.
	signal.Ignore(syscall.SIGPIPE)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer close(signals)
	defer signal.Stop(signals)
	go obey(signals, p, cancel)

	l, err := Start(ctx, opt)
	if ctx.Err() != nil && err != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return lastWords(failed, err)
	}
	done := make(chan int, 1)
	go func() { done <- talk(ctx, l) }()
	status := failed
	select {
	case status = <-done:
	case <-ctx.Done():
		// Whoever reads standard input cannot be made to stop; the process ends soon.
		err = context.Cause(ctx)
	}
	broken := l.Close() // before all that may wait for a reader
	if p != nil {
		p.end()
	}
	return lastWords(status, err, broken)
}

// obey lets the first signal cancel, and one that comes later end the process at once. A signal from
// Ctrl-C only ends the command that runs, if there is a prompt and one does.
func obey(signals <-chan os.Signal, p *prompt, cancel func(error)) {
	var first time.Time
	for sig := range signals {
		switch {
		case first.IsZero() && sig == os.Interrupt && p != nil && p.interrupted():
		case first.IsZero():
			first = time.Now()
			cancel(fmt.Errorf("ended by a signal: %v", sig))
		case time.Since(first) > echoTime:
			if p != nil {
				p.end()
			}
			os.Exit(failed) // the nodes, on a leash, end too; a temporary directory stays
		}
	}
}

// lastWords writes the errors that are not nil and returns status, or failed if there is one. It gives up
// after a while if nobody reads them.
func lastWords(status int, errs ...error) int {
	said := make(chan struct{})
	go func() {
		defer close(said)
		for _, err := range errs {
			if err != nil {
				complain(status, err)
			}
		}
	}()
	select {
	case <-said:
	case <-time.After(lastNewsTime):
	}
	if errors.Join(errs...) != nil {
		return failed
	}
	return status
}

// complain writes an error as one line, and returns status.
func complain(status int, err error) int {
	fmt.Fprintln(os.Stderr, oneLine(err.Error()))
	return status
}
