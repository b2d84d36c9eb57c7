package lab

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stageBinary is the command "lab args..." of a binary of the given stage, made of fake nodes.
func stageBinary(t *testing.T, stage string, args ...string) *exec.Cmd {
	bin, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), bin, append([]string{"lab"}, args...)...)
	cmd.Env = append(os.Environ(), "FAKE_STAGE="+stage, "TMPDIR="+t.TempDir())
	return cmd
}

// tempDir is where a lab has its temporary files, and no other lab.
func tempDir(cmd *exec.Cmd) string {
	return strings.TrimPrefix(cmd.Env[len(cmd.Env)-1], "TMPDIR=")
}

// tempFiles are those that a lab has left behind.
func tempFiles(t *testing.T, cmd *exec.Cmd) []os.DirEntry {
	files, err := os.ReadDir(tempDir(cmd))
	require.NoError(t, err)
	return files
}

func TestCommand_pipe_prints_answers_alone_and_goes_on_after_failures(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		in, out, err string
		status       int
	}{
		{"put x 1\n# a comment\n\nget x\n", "ok\n1\n", "", 0},
		{"put x 1\nget x", "ok\n1\n", "", 0},
		{"", "", "", 0},
		{"quit\nget x\n", "", "", 0},
		{"get x => 1\nget x => absent\n", "absent\nabsent\n", "line 1: get x => 1: expected 1, got absent\n", 1},
		{"get x\nexpect 1\n", "absent\n", "line 2: expect 1: expected 1, got absent\n", 1},
		{"frob\nget x\n", "absent\n", "line 1: frob: there is no command frob; help lists them\n", 1},
		{"put big 1\nget x\n", "error too_large: more than \"enough\"\nabsent\n",
			"line 1: put big 1: error too_large: more than \"enough\"\n", 1},
		{"put big 1\nexpect error too_large\nget x\n", "error too_large: more than \"enough\"\nabsent\n", "", 0},
		{"put big 1\n", "error too_large: more than \"enough\"\n",
			"line 1: put big 1: error too_large: more than \"enough\"\n", 1},
		{"put x " + strings.Repeat("v", 128<<10) + " => ok\n", "ok\n", "", 0},
		{"get x\nput x " + strings.Repeat("v", maxLine) + "\nget x\n", "absent\n", "line 2 is longer than 1048576 bytes\n", 1},
		{"put say hello\n", "ok\n", "n1 | hello\n", 0},
		{"\x1b[2J\n", "", "line 1: \uFFFD[2J: there is no command \"\\x1b[2J\"; help lists them\n", 1},
	} {
		cmd := stageBinary(t, "0")
		cmd.Stdin = strings.NewReader(c.in)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		cmd.Run()
		require.Equal(t, c.status, cmd.ProcessState.ExitCode(), "%.100s", c.in)
		require.Equal(t, c.out, out.String(), "%.100s", c.in)
		require.Equal(t, c.err, errs.String(), "%.100s", c.in)
	}
}

func TestCommand_used_wrongly_says_why_in_a_line(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args    string
		message string
		status  int
	}{
		{"-frob", "flag provided but not defined: -frob", 2},
		{"put x 1", `lab takes flags only, not "put"`, 2},
		{"-nodes 0", "-nodes is at least 1, not 0", 2},
		{"-nodes 3", "stage 0 has one node, not 3: clusters begin with stage 2", 2},
		{"-dir /tmp", "stage 0 keeps nothing on disk: data directories begin with stage 3", 2},
		{"-scene /nonexistent", "open /nonexistent: no such file or directory", 1},
	} {
		out, err := stageBinary(t, "0", strings.Fields(c.args)...).CombinedOutput()
		require.Equal(t, c.message+"\n", string(out), c.args)
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
		require.Equal(t, c.status, exit.ExitCode(), c.args)
	}
	out, err := stageBinary(t, "0", "-scene", "").CombinedOutput()
	require.EqualError(t, err, "exit status 2")
	require.Equal(t, "invalid value \"\" for flag -scene: a file has a name\n", string(out))
	out, err = stageBinary(t, "0", "-h").Output()
	require.NoError(t, err)
	require.Contains(t, string(out), "-scene file")
}

func TestCommand_scene_tells_the_story_and_stops_at_the_first_failure(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "scene")
	require.NoError(t, os.WriteFile(file, []byte(`# The server dies.
put x 1 => ok

get x => 1 | stage2: 2
list
kill n1
put x 2 => error unavailable
restart n1
# And everything is gone.
wait get x => absent
expect 1 | stage0-1: absent
get x => 1
get x
`), 0o644))
	cmd := stageBinary(t, "0", "-scene", file)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.Error(t, cmd.Run())
	require.Equal(t, 1, cmd.ProcessState.ExitCode())
	require.Equal(t, `The server dies.
> put x 1
ok ✓

> get x
1 ✓
> list
x
> kill n1
ok
> put x 2
error unavailable: not sent: connection refused ✓
> restart n1
ok
And everything is gone.
> wait get x
absent ✓
> expect absent
✓
> get x
absent ✗ expected 1, got absent
`, out.String())
	require.Equal(t, file+": line 12: get x => 1: expected 1, got absent\n", errs.String())
}

func TestScene_may_begin_with_a_byte_order_mark(t *testing.T) {
	require.NoError(t, startLab(t, Options{}).Scene(t.Context(), strings.NewReader("\ufeffget x => absent\n"), io.Discard))
}

func TestScene_fails_at_an_error_that_nothing_expects(t *testing.T) {
	l := startLab(t, Options{})
	for _, c := range []struct{ scene, message string }{
		{"put big 1\nget x", "line 1: put big 1: error too_large"},
		{"get x\nput big 1\n# end", "line 2: put big 1: error too_large"},
		{"put big 1 => error timeout", "line 1: put big 1 => error timeout: expected error timeout, got error too_large"},
	} {
		require.ErrorContains(t, l.Scene(t.Context(), strings.NewReader(c.scene), io.Discard), c.message)
	}
	require.NoError(t, l.Scene(t.Context(), strings.NewReader("put big 1\nexpect error too_large"), io.Discard))
	require.NoError(t, l.Scene(t.Context(), strings.NewReader("get x\nquit\nfrob"), io.Discard))
}

func TestSave_writes_a_scene_that_passes_when_it_is_played(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "scene")
	l := startLab(t, Options{Stage: 2, Nodes: 3})
	for _, line := range []string{
		"put x 1", "get x", `put "a key" ""`, `get "a key"`, "get  y =>  absent", "put big 1", "list", "status", "help",
		"cas x 1 |", // not an outcome
		`cas x 1 "|"`, "get y @n2", "timeout 100ms", "cut client<n2", "get x @n2", "get x @n2", "expect error timeout", "heal", "timeout 2s",
		"get x => 1", "append w a", "retry", "after 1ms get w", "run nothing", "frob", "get x @n9", "expect 3", "kill n3", "# not mine", "put x 2 @n2", "restart n3", "get x @n3",
	} {
		l.Run(t.Context(), line) // some fail
	}
	run(t, l, "save "+file+" => ok")
	saved, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, `# A session with stage 2, nodes: 3.

put x 1 => ok
wait get x => 1
put "a key" "" => ok
wait get "a key" => ""
get  y =>  absent
put big 1 => error too_large
wait list => "a key" x
status
cas x 1 | => swapped
cas x 1 "|" => not swapped: "|"
wait get y @n2 => absent
timeout 100ms => ok
cut client<n2 => ok
wait get x @n2 => error timeout
wait get x @n2 => error timeout
expect error timeout
heal => ok
timeout 2s => ok
wait get x => "|"
append w a => 1
retry => 2
after 1ms get w
run nothing => ""
kill n3 => ok
put x 2 @n2 => error not_leader
restart n3 => ok
wait get x @n3 => absent
`, string(saved))
	_, err = l.Run(t.Context(), "save "+file)
	require.EqualError(t, err, file+" exists already: choose another name")

	again := startLab(t, Options{Stage: 2, Nodes: 3})
	require.NoError(t, again.Scene(t.Context(), bytes.NewReader(saved), io.Discard))
}

func TestSave_of_a_session_without_end_refuses(t *testing.T) {
	var s session
	for range 17 {
		s.keep(strings.Repeat("x", 1<<20))
	}
	require.LessOrEqual(t, s.bytes, maxSession)
	l := startLab(t, Options{})
	l.session.full = true
	_, err := l.Run(t.Context(), "save "+filepath.Join(t.TempDir(), "scene"))
	require.ErrorContains(t, err, "too long")
}

// A running is a lab in a process of its own, of three nodes, one of them paused.
type running struct {
	cmd *exec.Cmd
	in  io.WriteCloser

	out, errs *lockedBuffer
}

func startRunning(t *testing.T) running {
	t.Helper()
	cmd := stageBinary(t, "3", "-nodes", "3")
	r := running{cmd: cmd, out: new(lockedBuffer), errs: new(lockedBuffer)}
	var err error
	r.in, err = cmd.StdinPipe()
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = r.out, r.errs
	require.NoError(t, cmd.Start())
	_, err = io.WriteString(r.in, "put x 1\npause n2\nput ready 1\n")
	require.NoError(t, err)
	require.Eventually(t, func() bool { return r.out.String() == "ok\nok\nok\n" }, 10*time.Second, 5*time.Millisecond)
	require.Len(t, tempFiles(t, cmd), 1)

	require.Equal(t, 3, r.nodes(t))
	return r
}

// nodes is how many of its processes there are, other than itself: those that name its directory.
func (r running) nodes(t *testing.T) int {
	list, err := exec.Command("ps", "-A", "-ww", "-o", "args=").Output()
	require.NoError(t, err)
	return strings.Count(string(list), " -data "+tempDir(r.cmd))
}

func TestCommand_ends_cleanly(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(r running) (status int){
		"at the end of its input": func(r running) int { r.in.Close(); return 0 },
		"by quit":                 func(r running) int { io.WriteString(r.in, "quit\n"); return 0 },
		"by SIGINT":               func(r running) int { r.cmd.Process.Signal(os.Interrupt); return 1 },
		"by SIGTERM":              func(r running) int { r.cmd.Process.Signal(syscall.SIGTERM); return 1 },
		"by SIGHUP":               func(r running) int { r.cmd.Process.Signal(syscall.SIGHUP); return 1 },
		"by SIGINT while a command runs": func(r running) int {
			io.WriteString(r.in, "timeout 1h\nget x\nget x @n2\n")
			require.Eventually(t, func() bool { return strings.HasSuffix(r.out.String(), "1\n") }, 10*time.Second, time.Millisecond)
			r.cmd.Process.Signal(os.Interrupt)
			return 1
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRunning(t)
			defer r.in.Close()
			status := end(r)
			began := time.Now()
			r.cmd.Wait()
			require.Less(t, time.Since(began), 5*time.Second)
			require.Equal(t, status, r.cmd.ProcessState.ExitCode(), r.errs.String())
			if status != 0 {
				require.Contains(t, r.errs.String(), "ended by a signal")
			}
			require.Empty(t, tempFiles(t, r.cmd))
			require.Zero(t, r.nodes(t))
		})
	}
}

func TestCommand_killed_leaves_no_node_not_even_a_paused_one(t *testing.T) {
	t.Parallel()
	r := startRunning(t)
	defer r.in.Close()
	require.NoError(t, r.cmd.Process.Kill())
	r.cmd.Wait()
	require.Eventually(t, func() bool { return r.nodes(t) == 0 }, 10*time.Second, 20*time.Millisecond)
}

func TestCommand_goes_on_after_a_write_to_a_lost_connection(t *testing.T) {
	t.Parallel()
	r := startRunning(t)
	require.NoError(t, r.cmd.Process.Signal(syscall.SIGPIPE)) // as the system does, when the forwarder writes to a node that was killed
	io.WriteString(r.in, "get x\nquit\n")
	require.NoError(t, r.cmd.Wait(), r.errs)
	require.Equal(t, "ok\nok\nok\n1\n", r.out.String())
}

func TestCommand_ends_cleanly_when_nobody_reads_its_answers(t *testing.T) {
	cmd := stageBinary(t, "3")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	out.Close()
	io.WriteString(in, "get x\n")
	defer in.Close()
	require.EqualError(t, cmd.Wait(), "exit status 1")
	require.Equal(t, "write /dev/stdout: broken pipe\n", errs.String())
	require.Empty(t, tempFiles(t, cmd))
}

func TestCommand_fails_when_its_answers_cannot_be_written(t *testing.T) {
	file := filepath.Join(t.TempDir(), "scene")
	require.NoError(t, os.WriteFile(file, []byte("put x 1\nput crash now\n"), 0o644))
	closed, err := os.Open(os.DevNull) // for reading only
	require.NoError(t, err)
	defer closed.Close()
	for _, cmd := range []*exec.Cmd{stageBinary(t, "0"), stageBinary(t, "0", "-scene", file)} {
		var errs bytes.Buffer
		cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("put x 1\nput crash now\n"), closed, &errs
		require.EqualError(t, cmd.Run(), "exit status 1")
		require.Regexp(t, `^(.*/scene: )?write /dev/stdout: bad file descriptor\n$`, errs.String())
	}
}

// unread is a pipe that is full and that nobody reads.
func unread(t *testing.T) *os.File {
	r, w, err := os.Pipe()
	require.NoError(t, err)
	t.Cleanup(func() { r.Close(); w.Close() })
	for block := make([]byte, 1<<16); len(block) > 0; block = block[:len(block)/2] {
		require.NoError(t, w.SetWriteDeadline(time.Now().Add(20*time.Millisecond)))
		_, err := w.Write(block)
		for err == nil {
			_, err = w.Write(block)
		}
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	}
	return w
}

// startUnread starts a lab whose news nobody reads, when there are some.
func startUnread(t *testing.T) running {
	t.Helper()
	cmd := stageBinary(t, "3", "-nodes", "3")
	r := running{cmd: cmd, out: new(lockedBuffer)}
	var err error
	r.in, err = cmd.StdinPipe()
	require.NoError(t, err)
	t.Cleanup(func() { r.in.Close() })
	cmd.Stdout, cmd.Stderr = r.out, unread(t)
	require.NoError(t, cmd.Start())
	io.WriteString(r.in, "put say hello\nkill n1\nget x @n2\n")
	require.Eventually(t, func() bool { return r.out.String() == "ok\nok\nabsent\n" }, 10*time.Second, 5*time.Millisecond)
	return r
}

func TestCommand_ends_cleanly_when_nobody_reads_its_errors(t *testing.T) {
	t.Parallel()
	r := startUnread(t)
	require.NoError(t, r.cmd.Process.Signal(syscall.SIGTERM))
	require.EqualError(t, r.cmd.Wait(), "exit status 1")
	require.Empty(t, tempFiles(t, r.cmd))
	require.Zero(t, r.nodes(t))
}

func TestCommand_ends_at_once_at_a_second_signal(t *testing.T) {
	t.Parallel()
	r := startUnread(t)
	began := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- r.cmd.Wait() }()
	for again := time.NewTicker(20 * time.Millisecond); len(ended) == 0; <-again.C {
		r.cmd.Process.Signal(syscall.SIGTERM)
	}
	require.EqualError(t, <-ended, "exit status 1")
	require.Less(t, time.Since(began), 2*lastNewsTime, "it waited for its last words to be read")
}

func TestCommand_ended_by_a_signal_while_it_starts_says_so(t *testing.T) {
	cmd := stageBinary(t, "3", "-nodes", "3")
	cmd.Env = append([]string{"FAKE_SLOW=1"}, cmd.Env...)
	r := running{cmd: cmd}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	require.NoError(t, cmd.Start())
	require.Eventually(t, func() bool { return r.nodes(t) > 0 }, 10*time.Second, 5*time.Millisecond)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.EqualError(t, cmd.Wait(), "exit status 1")
	require.Equal(t, "ended by a signal: terminated\n", errs.String())
}
