package lab

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"
	"golang.org/x/term"
)

// openTerminal makes a terminal: what a person types and sees, and what the program has.
func openTerminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { person.Close() })
	var number, unlock int32
	ioctl := func(request uintptr, arg *int32) {
		raw, err := person.SyscallConn()
		require.NoError(t, err)
		require.NoError(t, raw.Control(func(fd uintptr) {
			_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(arg)))
			require.Zero(t, errno)
		}))
	}
	ioctl(syscall.TIOCGPTN, &number)
	ioctl(syscall.TIOCSPTLCK, &unlock)
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { program.Close() })
	return person, program
}

// withoutReturns leaves out carriage returns, of which there may be any number.
type withoutReturns struct{ w io.Writer }

func (w withoutReturns) Write(b []byte) (int, error) {
	_, err := w.w.Write(bytes.ReplaceAll(b, []byte("\r"), nil))
	return len(b), err
}

// A terminalSession is a lab at a terminal.
type terminalSession struct {
	t       *testing.T
	keys    io.Writer
	screen  *lockedBuffer
	program *os.File
	ended   chan int
	signal  func(os.Signal) error
}

func startAtTerminal(t *testing.T, env ...string) *terminalSession {
	person, program := openTerminal(t)
	cmd := stageBinary(t, "2", "-nodes", "2")
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = program, program, program
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true} // so that Ctrl-C is its signal
	require.NoError(t, cmd.Start())
	s := &terminalSession{t: t, keys: person, screen: new(lockedBuffer), program: program,
		ended: make(chan int, 1), signal: cmd.Process.Signal}
	watched := make(chan struct{})
	go func() { io.Copy(withoutReturns{s.screen}, person); close(watched) }()
	go func() { cmd.Wait(); s.ended <- cmd.ProcessState.ExitCode() }()
	t.Cleanup(func() {
		cmd.Process.Kill()
		program.Close()
		person.Close()
		<-watched
	})
	s.sees("help for more")
	s.sees("\n> ")
	return s
}

func (s *terminalSession) types(keys string) {
	_, err := io.WriteString(s.keys, keys)
	require.NoError(s.t, err)
}

// sees waits for text on the screen, forgets all up to its end, and returns what came before it.
func (s *terminalSession) sees(text string) (before string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		s.screen.mu.Lock()
		defer s.screen.mu.Unlock()
		i := strings.Index(s.screen.b.String(), text)
		if i >= 0 {
			before = string(s.screen.b.Next(i))
			s.screen.b.Next(len(text))
		}
		return i >= 0
	}, 10*time.Second, 5*time.Millisecond, "not on the screen: %q", text)
	return before
}

// editing waits until the line editor is at work, or the terminal is left to itself while a command runs.
func (s *terminalSession) editing(yes bool) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return echoes(s.t, s.program) != yes }, 10*time.Second, time.Millisecond)
}

// ends requires that the lab ends in time and gives the terminal back.
func (s *terminalSession) ends(status int) {
	s.t.Helper()
	select {
	case got := <-s.ended:
		require.Equal(s.t, status, got, s.screen.String())
	case <-time.After(10 * time.Second):
		s.t.Fatal("the lab has not ended")
	}
	_, err := term.GetState(int(s.program.Fd()))
	require.NoError(s.t, err)
	require.True(s.t, echoes(s.t, s.program), "the terminal is still raw")
}

func echoes(t *testing.T, program *os.File) bool {
	var state syscall.Termios
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, program.Fd(), syscall.TCGETS, uintptr(unsafe.Pointer(&state)))
	require.Zero(t, errno)
	return state.Lflag&syscall.ECHO != 0
}

const (
	ctrlC = "\x03"
	ctrlD = "\x04"
	up    = "\x1b[A"
)

func TestPrompt(t *testing.T) {
	s := startAtTerminal(t, "NO_COLOR=1")
	s.types("put x 1\r")
	s.sees("\nok\n> ")
	s.types("get x\r")
	s.sees("\n1\n> ")
	s.types(up + up + "2\r") // put x 12, from the history
	s.sees("\nok\n> ")
	s.types("stat\t\r") // completed
	s.sees("leader")
	s.sees("> ")
	s.types("frob\r")
	s.sees("there is no command frob; help lists them\n> ")

	s.types("put say hello\r")
	s.sees("n1 | hello")
	s.editing(true)
	s.types("put crash now\r")
	s.sees("n1 ended by itself: exit status 2: panic: now\n")
	s.editing(true)
	s.types(ctrlD)
	s.ends(1) // a node has crashed
}

func TestPrompt_shows_the_news_above_what_is_being_typed(t *testing.T) {
	s := startAtTerminal(t, "NO_COLOR=1")
	s.types("get pid @n2\r")
	s.sees("get pid @n2\n")
	pid := s.sees("\n> ")
	s.types("get x")
	s.sees("get x")
	number, err := strconv.Atoi(pid)
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(number, syscall.SIGKILL))
	s.sees("n2 ended by itself: signal: killed\n> get x")
	s.types(" @n1\r")
	s.sees("\nabsent\n> ")
	s.types("quit\r")
	s.ends(0)
}

func TestPrompt_control_C_ends_a_command_and_then_the_lab(t *testing.T) {
	s := startAtTerminal(t)
	s.types("timeout 1h\r")
	s.sees("ok\n> ")
	s.types("pause n1\r")
	s.sees("ok\n> ")
	s.types("put x 1 @n1\r")
	s.sees("put x 1 @n1\n")
	s.editing(false)
	s.types(ctrlC)
	s.sees("\x1b[31merror ")
	s.sees("interrupted")
	s.sees("> ")
	s.types("half a line" + ctrlC)
	s.ends(0)
}

func TestPrompt_gives_the_terminal_back_when_it_is_ended_from_outside(t *testing.T) {
	t.Parallel()
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		s := startAtTerminal(t)
		require.NoError(t, s.signal(sig))
		s.ends(1)
	}
}

func TestPrompt_ends_though_its_terminal_is_halted(t *testing.T) {
	t.Parallel()
	s := startAtTerminal(t)
	const halt, output = 0x540a, 0 // TCXONC and TCOOFF, which Ctrl-S does too
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, s.program.Fd(), halt, output)
	require.Zero(t, errno)
	s.types("put say hello\r")
	require.NoError(t, s.signal(syscall.SIGTERM))
	s.ends(1)
}
