package lab

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// readyTime bounds the time from the start of a node until it listens.
	readyTime = 15 * time.Second

	// meetTime bounds the wait for nodes to connect to each other.
	meetTime = 3 * time.Second

	// leaderTime bounds the wait for one of them to lead.
	leaderTime = 5 * time.Second

	// reapTime bounds the time from a kill until the process is gone.
	reapTime = 5 * time.Second

	// pipeTime is how long what a dead process has written may take to be read, should another process
	// hold its pipes open.
	pipeTime = time.Second

	// maxLogLine is how much of one line of a node's output is kept together, in bytes.
	maxLogLine = 4 << 10
)

// childEnv marks a process that a lab has started.
const childEnv = "LAB_CHILD"

// Child reports whether a lab started this process. A stage's tests ask it in TestMain, so that the test
// binary itself serves as the node:
//
//	func TestMain(m *testing.M) {
//		if lab.Child() {
//			main()
//			return
//		}
//		m.Run()
//	}
func Child() bool { return os.Getenv(childEnv) == "1" }

// A process is one run of a node's program.
//
// Its standard input is a leash: the node ends when the other end is closed, which also happens when the
// lab is killed. It has a process group of its own, so that Ctrl-C at the terminal reaches the lab alone.
type process struct {
	cmd *exec.Cmd

	// say takes the lines that the process writes, those together that it wrote together: in order those of
	// standard output, and those of standard error, but with no order between the two.
	say func(lines []string)

	// ready is closed when the process has said that it listens.
	ready chan struct{}

	// exited is closed when the process is gone, all that it wrote has been said, and buried has run.
	exited chan struct{}

	killed atomic.Bool

	mu        sync.Mutex
	lastWords string
	final     bool // whatever else it writes, those were its last words
}

// launch starts a node: bin node -id ID ... It does not wait until the node is ready. Once it is gone,
// and before anyone who waits for that goes on, buried is called.
func launch(bin, id string, args []string, say func(lines []string), buried func(*process)) (*process, error) {
	p := &process{
		cmd:    exec.Command(bin, append([]string{"node", "-id", id}, args...)...),
		say:    say,
		ready:  make(chan struct{}),
		exited: make(chan struct{}),
	}
	p.cmd.Env = childEnviron()
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = pipeTime
	out := &lineWriter{say: p.hear(id + " listening on ")}
	errs := &lineWriter{say: p.complain}
	p.cmd.Stdout, p.cmd.Stderr = out, errs
	if _, err := p.cmd.StdinPipe(); err != nil { // cmd holds it
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.exited)
		p.cmd.Wait() // its error is in ProcessState, or that of the pipes, of which nothing depends
		out.flush()
		errs.flush()
		buried(p)
	}()
	return p, nil
}

// hear takes the lines of standard output. The first that begins with greeting says that the node is
// ready, and is not passed on.
func (p *process) hear(greeting string) func([]string) {
	greeted := false
	return func(lines []string) {
		greets := func(line string) bool { return strings.HasPrefix(line, greeting) }
		if i := slices.IndexFunc(lines, greets); i >= 0 && !greeted {
			greeted = true
			close(p.ready)
			lines = slices.Delete(lines, i, i+1)
		}
		p.say(lines)
	}
}

// complain takes the lines of standard error. It keeps the last one, or the one with which a Go program
// begins to die, or the one after which it explains its flags.
func (p *process) complain(lines []string) {
	p.mu.Lock()
	for _, line := range lines {
		p.final = p.final || strings.HasPrefix(line, "Usage of ")
		if line != "" && !p.final {
			p.lastWords, p.final = line, isFatal(line)
		}
	}
	p.mu.Unlock()
	p.say(lines)
}

func isFatal(line string) bool {
	return strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") ||
		strings.HasPrefix(line, "WARNING: DATA RACE")
}

// epitaph says how a process ended that is gone: "exit status 1: disk full".
func (p *process) epitaph() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	how := p.cmd.ProcessState.String()
	if p.lastWords == "" {
		return how
	}
	return how + ": " + p.lastWords
}

// crashed reports whether a process that is gone ended with an error, rather than well or by a signal.
func (p *process) crashed() bool { return p.cmd.ProcessState.ExitCode() > 0 }

// listens reports whether the process has said that it is ready.
func (p *process) listens() bool {
	select {
	case <-p.ready:
		return true
	default:
		return false
	}
}

// kill ends the process as a crash would, paused or not, and returns once it is gone.
func (p *process) kill() error {
	p.killed.Store(true)
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.exited:
		return nil
	case <-time.After(reapTime):
		return fmt.Errorf("process %d is still there %v after it was killed", p.cmd.Process.Pid, reapTime)
	}
}

// gone reports whether the process has ended.
func (p *process) gone() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// A lineWriter cuts what is written to it into lines. A line longer than maxLogLine comes in pieces.
type lineWriter struct {
	say  func(lines []string)
	rest []byte
}

func (w *lineWriter) Write(b []byte) (int, error) {
	w.rest = append(w.rest, b...)
	var lines []string
	for {
		i := bytes.IndexByte(w.rest, '\n')
		switch {
		case i >= 0:
			lines = append(lines, strings.TrimSuffix(string(w.rest[:i]), "\r"))
			w.rest = w.rest[i+1:]
		case len(w.rest) >= maxLogLine:
			lines = append(lines, string(w.rest[:maxLogLine]))
			w.rest = w.rest[maxLogLine:]
		default:
			w.say(lines)
			return len(b), nil
		}
	}
}

// flush hands on a last line without its newline.
func (w *lineWriter) flush() {
	if len(w.rest) > 0 {
		w.say([]string{string(w.rest)})
		w.rest = nil
	}
}
