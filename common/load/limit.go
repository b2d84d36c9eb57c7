package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// startTimeout bounds the start of a server.
const startTimeout = 10 * time.Second

// stopTimeout is how long a limit may take to end before it is killed.
const stopTimeout = 5 * time.Second

// A server is what a measurement talks to.
type server struct {
	// addr is where clients dial, and connect how.
	addr    string
	connect connect
	// stop ends all processes of the server, and returns when they have ended. It is called once.
	stop func() error
}

// A contender is one that takes part in the comparison. Every measurement starts a server of its own.
type contender struct {
	name string
	// echoes says that it sends every line back.
	echoes bool
	start  func(context.Context) (*server, error)
}

// echoLimit is the least that a server of lines can do.
func echoLimit() contender {
	return contender{name: "echo", echoes: true, start: func(context.Context) (*server, error) {
		return startLimit("echo")
	}}
}

// durableLimit is the least that a server can do that flushes what it has promised to a file at path.
func durableLimit(path string) contender {
	return contender{name: "durable", echoes: true, start: func(context.Context) (*server, error) {
		s, err := startLimit("durable", path)
		if err != nil {
			return nil, err
		}
		stop := s.stop
		s.stop = func() error { return errors.Join(stop(), os.Remove(path)) }
		return s, nil
	}}
}

// startLimit starts this binary again, as one of the limits.
func startLimit(args ...string) (*server, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...)
	cmd.Stderr = os.Stderr
	held, err := cmd.StdinPipe() // see whileRead
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	tooLate := time.AfterFunc(startTimeout, func() { cmd.Process.Kill() })
	addr, err := bufio.NewReader(out).ReadString('\n')
	tooLate.Stop()
	if err != nil {
		held.Close()
		cmd.Process.Kill()
		return nil, fmt.Errorf("%s did not start: %w", args[0], errors.Join(err, cmd.Wait()))
	}
	stop := func() error {
		defer held.Close()
		return terminate(cmd)
	}
	return &server{addr: strings.TrimSpace(addr), connect: overTCP, stop: stop}, nil
}

// terminate ends a child in order, or by force if it does not. Its error says that it had to, or that
// the child failed.
func terminate(cmd *exec.Cmd) error {
	late := time.AfterFunc(stopTimeout, func() { cmd.Process.Kill() })
	defer late.Stop()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", cmd.Args[1], err)
	}
	return nil
}
