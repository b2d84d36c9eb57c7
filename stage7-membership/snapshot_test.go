package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/lab"
)

// compacting has nodes take snapshots all the time.
var compacting = []string{"-snapshot-bytes", "2000"}

// haveSnapshots fails unless each node has one, those included that have just come back.
func haveSnapshots(t *testing.T, l *lab.Lab) {
	t.Helper()
	for _, n := range l.Nodes() {
		require.Eventually(t, func() bool {
			_, err := os.Stat(filepath.Join(n.Dir, "snapshot"))
			return err == nil
		}, 30*time.Second, 20*time.Millisecond, n.ID)
	}
}

func TestNode_whose_directory_is_empty_joins_late_and_becomes_level(t *testing.T) {
	t.Parallel()
	l, err := lab.Start(t.Context(), lab.Options{Stage: stage, Nodes: 3, Flags: compacting})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	run := func(command string) string {
		answer, err := l.Run(t.Context(), command)
		require.NoError(t, err, command)
		return answer
	}
	run("kill n3")
	for i := range 100 {
		run(fmt.Sprintf("put %d %s", i, strings.Repeat("x", 100)))
	}
	run("replace n3 n4")
	require.FileExists(t, filepath.Join(l.Nodes()[2].Dir, "snapshot"))
	run("kill n1") // what is there now needs n4
	require.Equal(t, strings.Repeat("x", 100), run("get 0"))
	require.Equal(t, "ok", run("put 0 y"))
}
