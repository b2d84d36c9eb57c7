package main

import (
	"bytes"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDiff_shows_the_step_in_reading_order(t *testing.T) {
	root := plant(t, small)
	put(t, root, "stage1-client/testdata/bugs/a_bug.patch", "# B000\n")
	w, err := load(root, smallSteps+"+ testdata/bugs/*.patch\n")
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, w.diff(&out, 0, 1))

	shown := out.String()
	var order []string
	for line := range strings.Lines(shown) {
		if strings.HasPrefix(line, "diff ") {
			order = append(order, strings.TrimSpace(line))
		}
	}
	require.Equal(t, []string{
		"diff --git stage0-server/main.go stage1-client/main.go",
		"diff --git stage1-client/client/client.go stage1-client/client/client.go",
		"diff --git stage0-server/kv/kv.go stage0-server/kv/kv.go",
		"diff --git stage1-client/client/client_test.go stage1-client/client/client_test.go",
	}, order)
	require.NotContains(t, shown, `-import _ "raftworkbook/stage0-server`, "the stages' own paths must not show")
	require.Contains(t, shown, "+// Call is new.\n+func Call() {\n+\tprintln(\"called\")\n+}\n")
	require.NotContains(t, shown, "B000", "patches are named, not shown")
	require.Contains(t, shown, `
~ main.go                    +4  -1
+ client/client.go           +6  -0  the calls
- kv/kv.go                   +0  -4
~ README.md                  +1  -1
+ client/client_test.go      +1  -0  the calls
+ testdata/bugs/a_bug.patch  +1  -0

11 lines of code: 8 added, 3 removed, without blank lines, comments and tests (bound 20)
`)
}

func TestDiff_without_stages_is_a_table_of_steps(t *testing.T) {
	w, err := load(plant(t, small), smallSteps)
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, w.overview(&out))
	var rows [][]string
	for line := range strings.Lines(out.String()) {
		rows = append(rows, strings.Fields(line))
	}
	require.Equal(t, [][]string{
		strings.Fields("step files + ~ - lines + - total bound"),
		strings.Fields("0 4 0 0 7 0 7"),
		strings.Fields("0→1 2 2 1 8 3 11 20"),
	}, rows)
}

func TestDiff_ends_when_nobody_reads_it_any_more(t *testing.T) {
	w, err := load(plant(t, small), smallSteps)
	require.NoError(t, err)
	reads, writes, err := os.Pipe()
	require.NoError(t, err)
	defer writes.Close()
	require.NoError(t, reads.Close())
	require.ErrorIs(t, w.diff(writes, 0, 1), syscall.EPIPE)
}

func TestDiff_names_the_stages_there_are(t *testing.T) {
	w, err := load(plant(t, small), smallSteps)
	require.NoError(t, err)
	require.EqualError(t, w.diff(&bytes.Buffer{}, 0, 5), "there is no stage 5, only [0 1]")
}
