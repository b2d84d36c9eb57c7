package lab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"raftworkbook/common/wire"
)

const (
	// programTime bounds a run of the stage's own command.
	programTime = 30 * time.Second

	// maxOutput is how much of its output is shown, in bytes; what one answer of a server can be fits.
	maxOutput = wire.MaxLine
)

// serversEnv names the variable that tells the stage's commands where the servers are, from stage 4 on.
const serversEnv = "RAFT_SERVERS"

// childEnviron is the environment of a process that a lab starts. A binary with the race detector stops at the
// first race, so that the lab hears of it.
func childEnviron(more ...string) []string {
	return append(os.Environ(), append(more, childEnv+"=1", "GORACE=halt_on_error=1 "+os.Getenv("GORACE"))...)
}

// runProgram runs the stage's own command, as from a shell. It connects to the nodes itself, past the forwarder,
// since it may be sent to addresses that the lab has not told it. Nothing of it runs when runProgram returns.
func runProgram(ctx context.Context, l *Lab, args []word) (string, error) {
	if len(args) == 0 {
		return "", errTooFew
	}
	if err := l.begin(); err != nil {
		return "", err
	}
	defer l.tasks.Done()
	ctx, cancel := context.WithTimeout(ctx, programTime)
	defer cancel()
	defer context.AfterFunc(l.life, cancel)()

	var out, errs head
	cmd := exec.CommandContext(ctx, l.opt.Bin, l.programArgs(args)...)
	cmd.Env = childEnviron(serversEnv + "=" + strings.Join(l.clientAddrs(), ","))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = pipeTime
	cmd.Stdout, cmd.Stderr = &out, &errs
	began := time.Now()
	switch err := cmd.Run(); {
	case cmd.ProcessState == nil:
		return "", err // it does not start
	case cmd.ProcessState.Success():
		return out.text(), nil
	case ctx.Err() != nil:
		return fmt.Sprintf("error timeout: outcome unknown: killed after %v", time.Since(began).Round(time.Millisecond)), nil
	case errs.b == nil:
		return "error " + cmd.ProcessState.String(), nil
	}
	why, _, _ := strings.Cut(errs.text(), "\n")
	return "error " + oneLine(why), nil
}

// programArgs is a command line that names the servers, as far as the stage needs that: before stage 4 a client
// knows one.
func (l *Lab) programArgs(args []word) []string {
	line := []string{args[0].text}
	if l.opt.Stage < firstSession {
		line = append(line, "-servers", l.first[0].Client)
	}
	if l.authority != nil {
		line = append(line, l.authority.flags(clientName)...)
	}
	for _, arg := range args[1:] {
		line = append(line, arg.text)
	}
	return line
}

// clientAddrs are the addresses at which nodes serve clients.
func (l *Lab) clientAddrs() []string {
	var addrs []string
	for _, m := range l.current() {
		addrs = append(addrs, m.Client)
	}
	return addrs
}

// A head keeps the beginning of what is written to it.
type head struct {
	b   []byte
	cut bool
}

func (h *head) Write(b []byte) (int, error) {
	fits := min(len(b), maxOutput-len(h.b))
	h.b = append(h.b, b[:fits]...)
	h.cut = h.cut || fits < len(b)
	return len(b), nil
}

// text is what was written, without its last newline and what could move a terminal's cursor.
func (h *head) text() string {
	text := clean(strings.TrimSuffix(string(h.b), "\n"))
	switch {
	case h.cut:
		return text + "\n... more"
	case text == "":
		return `""`
	}
	return text
}
