package server

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/files/crash"
	"raftworkbook/stage6-compaction/raft"
)

var update = flag.Bool("update", false, "write the story of the steps anew")

// The story is there to be read: what each crash leaves, and what a start makes of it.
func TestCrash_at_each_step_of_a_snapshot_loses_nothing(t *testing.T) {
	var story strings.Builder
	for step := 1; ; step++ {
		disk := crash.New(1)
		promised := saveAll(t, disk, newTerm(1, 1, 0, 3, 3, 3, 3, 3))
		d, k := startDisk(t, disk)
		doing, left := "", step
		disk.Fault = func(op crash.Op, name string) error {
			if left--; left > 0 || op == crash.Open {
				return nil
			}
			if doing == "" {
				doing = fmt.Sprintf("%-7s %s", op, name)
			}
			return crash.ErrPowerFailure
		}
		err := d.does(take(4, 2), k)
		disk.Restart(crash.Nothing)
		m := memoryOf(t, disk)
		require.True(t, whole(m).equal(promised), "step %d, %s: %v", step, doing, whole(m))
		if err == nil {
			fmt.Fprintf(&story, "%2d  %-26s  %s\n", step, "no crash", found(m))
			break
		}
		fmt.Fprintf(&story, "%2d  %-26s  %s\n", step, doing, found(m))
	}
	const file = "testdata/a-crash-at-each-step-of-a-snapshot"
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(story.String()), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), story.String())
}

func memoryOf(t *testing.T, disk *crash.Disk) memory {
	t.Helper()
	d, m, err := openDisk(disk, "n1", "c1", "n1")
	require.NoError(t, err)
	require.NoError(t, d.close())
	return m
}

// found is what a start finds.
func found(m memory) string {
	text := "no snapshot"
	if m.snapshot.LastIncludedIndex > 0 {
		text = fmt.Sprintf("a snapshot up to %d", m.snapshot.LastIncludedIndex)
	}
	first := raft.Index(0)
	if len(m.entries) > 0 {
		first = m.entries[0].Index
	}
	return fmt.Sprintf("%s, and the log from %d to %d", text, first, first+raft.Index(len(m.entries))-1)
}
