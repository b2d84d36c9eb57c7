package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fakeLab answers each line, and complains as a lab does of what is no command.
const fakeLab = `while read -r l; do case $l in typed-*) echo "line 1: $l: there is no command";; *) echo "said $l";; esac; done`

// tell plays a chapter, in which ”' stands for a fence.
func tell(t *testing.T, limit time.Duration, text string) tally {
	t.Helper()
	s := newSession(t, limit, text)
	require.NoError(t, s.play(t.Context()))
	return s.tally
}

func newSession(t *testing.T, limit time.Duration, text string) *session {
	c := parseChapter("c/README.md", "stage0-c", strings.ReplaceAll(text, "'''", "```"))
	return &session{chapter: c, work: t.TempDir(), tmp: t.TempDir(), startLab: fakeLab,
		limit: limit, still: 300 * time.Millisecond, watch: 300 * time.Millisecond}
}

func TestChapter_that_is_true_has_no_problems(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text     string
		compared int
	}{
		"output, word by word":            {"'''\n$ echo 'a   b'\na b\n$ true\n'''", 2},
		"a here-document, and /tmp":       {"'''\n$ cat > /tmp/x <<END\n$ no command\nEND\n$ sed 's/. //' /tmp/x; ls /tmp/x\nno command\n/tmp/x\n'''", 2},
		"variables and functions stay":    {"'''\n$ a=1; f() { echo $a; }\n'''\n\nand\n\n'''\n$ f\n1\n'''", 1},
		"any lines":                       {"'''\n$ seq 9\n1\n...\n5\n...\n9\n'''", 1},
		"what a test took":                {"'''\n$ echo 'FAIL (1.25s)'\nFAIL (0.03s)\n'''", 1},
		"what varies":                     {"<!-- book: varies /x\\d/: chance -->\n'''\n$ echo x1 y\nx2 y\n'''", 1},
		"output that follows, abridged":   {"'''\n$ seq 9\n'''\n\nAnswer:\n\n'''\n3\n7\n'''", 1},
		"output of two blocks":            {"'''\n$ echo 1\n'''\nwait\n'''\n$ echo 2\n'''\nAnswer\n'''\n1\n2\n'''", 2},
		"code is no output":               {"'''\n$ echo 1\n'''\n'''go\nx := 1\n'''", 0},
		"what is under another heading":   {"'''\n$ echo 1\n'''\n## Next\n'''\ntext\n'''", 0},
		"commands that are not shown":     {"<!-- book:\n$ echo 1 > /tmp/one\n-->\n'''\n$ cat /tmp/one\n1\n'''", 1},
		"the prompt of a lab":             {"'''\n> put x 1\nsaid put x 1\n$ echo 1\n1\n> get x\nsaid get x\n'''", 3},
		"a block that is not run":         {"<!-- book: not run: no -->\n'''\n$ echo 1\n2\n'''", 0},
		"a block that is not compared":    {"<!-- book: not compared: no -->\n'''\n$ echo 1\n2\n'''", 0},
		"lines of a scene are its output": {"'''\n$ echo '> put' # -scene x\n> put\n'''", 1},
		"Ctrl-C ends what runs":           {"'''\n$ sleep 100\n^C\n$ echo next\nnext\n'''", 2},
		"a node gets a terminal": {"<!-- book:\n$ echo 'echo up; sleep 100' > /tmp/n; chmod +x /tmp/n\n-->\n" +
			"'''\n$ N=1; /tmp/n node\nup\n$ echo typed\ntyped\n^C\n'''", 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := tell(t, 10*time.Second, c.text)
			require.Empty(t, got.Problems)
			require.Equal(t, c.compared, got.Compared)
		})
	}
}

func TestChapter_that_is_not_true_is_told_where_and_how(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ text, problem string }{
		"another word":               {"# C\n\n'''\n$ echo a; echo b\na\nc\n'''", "c/README.md:4: $ echo a; echo b\n      a\n    - c\n    + b"},
		"a word more":                {"'''\n$ echo a; echo b\na\n'''", "c/README.md:2: $ echo a; echo b\n      a\n    + b"},
		"a command that says more":   {"'''\n$ echo a\n$ echo b\nb\n'''", "c/README.md:2: $ echo a\n    + a"},
		"not even with any lines":    {"'''\n$ seq 3\n1\n...\n4\n'''", "c/README.md:2: $ seq 3\n      1\n    - ...\n    - 4\n    + 2\n    + 3"},
		"an answer of the lab":       {"'''\n> put x 1\nok\n'''", "c/README.md:2: > put x 1\n    - ok\n    + said put x 1"},
		"output in another order":    {"'''\n$ echo a; echo b\n'''\n\nThen\n\n'''\nb\na\n'''", "c/README.md:8: this does not come of the commands before it\n    - b\n      a\n    + b"},
		"Ctrl-C where nothing is":    {"'''\n^C\n'''", "c/README.md:2: ^C, and nothing runs"},
		"a mark without a reason":    {"\n<!-- book: not run -->\n'''\n$ echo\n'''", `c/README.md:2: there is no such mark, or it has no reason: "not run"`},
		"a mark that there is not":   {"<!-- book: maybe: why -->\n'''\n$ true\n'''", `c/README.md:1: there is no such mark, or it has no reason: "maybe: why"`},
		"a file that there is not":   {"From `raft/testdata/x.trace`:\n\n'''\nx\n'''", "c/README.md:4: open "},
		"a trace that nobody writes": {"'''\nn1   at  2s\n     ticks\n'''", "c/README.md:2: this does not come of the commands before it\n    - n1   at  2s\n    -      ticks"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := tell(t, 10*time.Second, c.text)
			require.Len(t, got.Problems, 1)
			require.Contains(t, got.Problems[0], c.problem)
		})
	}
}

func TestCommand_that_hangs_is_ended_and_the_next_is_run(t *testing.T) {
	t.Parallel()
	got := tell(t, 500*time.Millisecond, "'''\n$ sleep 100\n'''\n\nand\n\n'''\n$ echo 1\n1\n'''")
	require.Equal(t, []string{"c/README.md:2: $ sleep 100\n    does not end within 500ms"}, got.Problems)
	require.Equal(t, 1, got.Compared)
}

func TestNothing_that_a_chapter_starts_outlives_it(t *testing.T) {
	t.Parallel()
	s := newSession(t, 10*time.Second, "'''\n$ sleep 1000 > pipe &\n> put x 1\nsaid put x 1\n'''")
	pipe := filepath.Join(s.work, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	ended := make(chan error, 1)
	go func() {
		_, err := os.ReadFile(pipe) // until nobody holds the other end
		ended <- err
	}()
	require.NoError(t, s.play(t.Context()))
	require.Empty(t, s.Problems)
	require.NoError(t, <-ended)
}

func TestHeavy_commands_are_left_out_and_said_to_be(t *testing.T) {
	t.Parallel()
	for _, command := range []string{
		"make soak STAGE=3", "make test", "go test ./stage0-kvserver/...", "go test -timeout 1m ./stage0-kvserver/...",
		"go test ./stage0-kvserver/api -run '^$' -fuzz FuzzDecodeRequest",
	} {
		got := tell(t, 10*time.Second, "'''\n$ "+command+"\n'''")
		require.Zero(t, got.Run, command)
		require.Len(t, got.LeftOut, 1, command)
	}
}

func TestChapter_names_what_there_is(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":                          "module m\n",
		"Makefile":                        "test: ## all\n",
		"stage0-a/main.go":                "package main\n",
		"stage0-a/raft/raft_test.go":      "func TestFollower_waits(t *testing.T) {\n",
		"stage0-a/scenes/one.scene":       "put x 1\n",
		"stage0-a/testdata/bugs/b1.patch": "",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(root, name), []byte(text), 0o600))
	}
	named, err := newNames(root)
	require.NoError(t, err)
	for command, wrong := range map[string]string{
		"make test STAGE=0":                                              "",
		"make prove":                                                     "there is no target prove",
		"make test STAGE=4":                                              "there is no stage 4",
		"go run ./stage0-a lab":                                          "",
		"go run ./stage0-b lab":                                          "there is no stage0-b",
		"go test ./stage0-a/... -run TestFollower":                       "",
		"go test ./stage0-a/raft -run 'TestF/case|wait'":                 "",
		"go test ./stage0-a -run TestFollower":                           "there is no test TestFollower",
		"go test ./stage0-a/raft -run 'TestF|TestX'":                     "there is no test TestF|TestX",
		"git apply --directory=stage0-a stage0-a/testdata/bugs/b2.patch": "there is no stage0-a/testdata/bugs/b2.patch",
		"one.scene":                           "",
		"two.scene":                           "there is no such file",
		"go run ./stage0-a/scenes/NAME.scene": "",
		"put x 1 => 1 | stage0: 2":            "",
	} {
		got, _ := named.wrong(command)
		if wrong == "" {
			require.Empty(t, got, command)
		} else {
			require.Equal(t, []string{wrong}, got, command)
		}
	}
	problems, _ := named.missing(parseChapter("README.md", "", "One\n\nSee `make test`,\nor `make\nprove`."))
	require.Equal(t, []string{"README.md:4: make prove: there is no target prove"}, problems)
}
