package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A terminal is a process with a keyboard and a screen.
type terminal struct {
	cmd      *exec.Cmd
	keyboard io.WriteCloser
	ended    chan struct{}
	screen
}

// A screen keeps all that is written to it.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
	news chan struct{} // closed, and made anew, with each writing
}

func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.news)
	s.news = make(chan struct{})
	return s.text.Write(b)
}

// from is what was written after the first n bytes, and a channel that is closed when there is more.
func (s *screen) from(n int) (string, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.text.Bytes()[n:]), s.news
}

// size is how much was written so far.
func (s *screen) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Len()
}

// open starts a terminal in which bash runs a script.
func open(dir, script string) (*terminal, error) {
	t := &terminal{cmd: exec.Command("bash", "-c", script), ended: make(chan struct{})}
	t.news = make(chan struct{})
	t.cmd.Dir = dir
	t.cmd.Env = append(os.Environ(), buildFlags)
	t.cmd.Stdout, t.cmd.Stderr = &t.screen, &t.screen
	t.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	t.cmd.WaitDelay = time.Second // what it left behind may hold the screen
	var err error
	if t.keyboard, err = t.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := t.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		t.cmd.Wait()
		close(t.ended)
	}()
	return t, nil
}

// await waits until what was written after the first n bytes is enough, the terminal ends, or the time is up,
// and returns it.
func (t *terminal) await(ctx context.Context, n int, enough func(string) bool) (text string, ok bool) {
	for {
		text, more := t.from(n)
		if enough(text) {
			return text, true
		}
		select {
		case <-more:
		case <-t.ended:
			text, _ = t.from(n)
			return text, enough(text)
		case <-ctx.Done():
			return text, false
		}
	}
}

// signal sends a signal to all that runs in the terminal.
func (t *terminal) signal(sig syscall.Signal) { syscall.Kill(-t.cmd.Process.Pid, sig) }

// leaveTime is how long a program may take to leave after Ctrl-C.
const leaveTime = 5 * time.Second

// close ends the terminal and all that runs in it.
func (t *terminal) close() {
	t.keyboard.Close()
	t.signal(syscall.SIGINT)
	select {
	case <-t.ended:
	case <-time.After(leaveTime):
	}
	t.signal(syscall.SIGKILL)
	<-t.ended
}

// A shell is a terminal at which commands are typed one after the other.
type shell struct {
	*terminal
	tmp string
	n   int // how many have been typed
	at  int // where on the screen the output of the last begins
}

// done is how the end of a command shows on the shell's screen.
const done = "\x00"

// openShell starts the shell. It has no terminal of the system, so that nothing in it waits for a person. All
// variables are exported, for other terminals to know them too.
func openShell(dir, tmp string) (*shell, error) {
	t, err := open(dir, `set -a; trap : INT; while read -r file; do . "$file" </dev/null; printf '\0'; done`)
	return &shell{terminal: t, tmp: tmp}, err
}

// begin types a command.
func (s *shell) begin(command string) error {
	s.n++
	s.at = s.size()
	file := fmt.Sprintf("%s/.typed-%d", s.tmp, s.n)
	if err := os.WriteFile(file, []byte(command+"\n"), 0o600); err != nil {
		return err
	}
	_, err := fmt.Fprintln(s.keyboard, file)
	return err
}

// end waits for the end of the command that was typed last.
func (s *shell) end(ctx context.Context) (output string, ok bool) {
	text, ok := s.await(ctx, s.at, func(text string) bool { return strings.Contains(text, done) })
	return strings.Replace(text, done, "", 1), ok
}

// newTerminal starts a command in a terminal of its own, with the variables of the shell.
func (s *shell) newTerminal(ctx context.Context, dir, command string) (*terminal, error) {
	file := s.tmp + "/.variables"
	if err := s.begin("export -p > " + file); err != nil {
		return nil, err
	}
	if _, ok := s.end(ctx); !ok {
		return nil, fmt.Errorf("the shell does not answer")
	}
	return open(dir, ". "+file+"; "+command)
}
