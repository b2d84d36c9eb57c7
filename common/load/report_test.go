package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// results is a report with everything in it.
var results = report{
	Stage: 3, Nodes: 3,
	setting: setting{
		System: "plan9/mips", Cores: 1, Go: "go1.99", Size: 100, Keys: 10_000, Rounds: 3, Seconds: 0.5,
		Flush: 400, Dir: "/disk",
	},
	Rows: []row{
		{Op: "put", Conns: 1, Server: "echo", Throughput: 40_000, P50: 20, P95: 40, P99: 80, CPU: 25, ThroughputVsEcho: 1, CPUVsEcho: 1},
		{
			Op: "put", Conns: 1, Server: "stage 3", Throughput: 987.4, P50: 1000, P95: 1500, P99: 12_345, CPU: 250,
			Errors: map[string]int{"timeout": 2, "not_leader": 1}, ThroughputVsEcho: 0.025, CPUVsEcho: 10,
		},
		{Op: "put", Conns: 256, Server: "echo", Throughput: 60_000, P50: 4000, P95: 8000, P99: 9000, CPU: 16.66, ThroughputVsEcho: 1, CPUVsEcho: 1},
		{Op: "get", Conns: 1, Server: "echo", Throughput: 41_000, P50: 19, P95: 39, P99: 79, CPU: 24, ThroughputVsEcho: 1, CPUVsEcho: 1},
	},
	Idle: []idleRow{{"echo", 256, 2_100_000}, {"stage 3", 256, 15_960_000}},
	Compaction: &compaction{
		Entries: 1_000_000, Conns: 64,
		Disks: []diskRow{
			{Node: "n1", Most: 12_345_678, Bytes: 7_000_000, Log: 2_500_000, Entries: 12_345},
			{Node: "n2", Most: 9_000_000, Bytes: 700_000, Log: 1000, Entries: 0},
		},
		Node: "n2", Applied: 1_000_002, Restart: 412_000, CatchUp: 1_510_000, P99Before: 8000, P99During: 12_000,
		SnapshotBytes: 2_000_000, CPU: 110, Before: "stage 2", CPUBefore: 100, CPUVsBefore: 1.12, Again: 64, Errors: map[string]int{"timeout": 3},
	},
}

func TestReport_prints_aligned_tables(t *testing.T) {
	var out strings.Builder
	require.NoError(t, results.print(&out))
	want := `stage 3, 3 nodes, on plan9/mips with 1 core and go1.99
processes on loopback, files in /disk, which takes 400µs to append a value and flush it
values of 100 bytes, 10,000 keys, 3 rounds of 500ms for each number of connections

   op  conns   server   ops/s     p50     p95     p99  cpu/op  errors  ops/s ratio  cpu/op ratio
  put      1     echo  40,000  20.0µs  40.0µs  80.0µs  25.0µs       0
  put      1  stage 3     987  1.00ms  1.50ms  12.3ms   250µs       3         0.03         10.00

  put    256     echo  60,000  4.00ms  8.00ms  9.00ms  16.7µs       0

   op  conns   server   ops/s     p50     p95     p99  cpu/op  errors  ops/s ratio  cpu/op ratio
  get      1     echo  41,000  19.0µs  39.0µs  79.0µs  24.0µs       0

errors: put, 1 connection, stage 3: 2 × timeout, 1 × not_leader
256 idle connections cost echo 2.1 MB
256 idle connections cost stage 3 16.0 MB
put, 1 connection, stage 3: p50 = 2.5 flushes

` + legend + `
compaction: 1,000,000 puts with 64 connections; then

  node  most on disk  on disk  the log of it  entries after the snapshot
    n1       12.3 MB   7.0 MB         2.5 MB                      12,345
    n2        9.0 MB   0.7 MB         0.0 MB                           0

n2, killed, has applied its 1,000,002 entries again after          412ms
n2, started with nothing while clients put, has caught up after    1.51s
p99 of these puts before                                          8.00ms
p99 until it has                                                  12.0ms    1.50 times
cpu/op of a put, stage 2                                           100µs
cpu/op with a snapshot every 2.0 MB of log                         110µs    1.12 times
put again, because the leader was lost: 64
errors where cpu/op was measured: 3 × timeout
`
	require.Empty(t, cmp.Diff(want, out.String()))
}

func TestReport_counts_all_errors(t *testing.T) {
	require.Equal(t, 6, results.errors())
}

func TestReport_is_the_same_after_a_trip_through_JSON(t *testing.T) {
	text, err := json.Marshal(results)
	require.NoError(t, err)
	require.Contains(t, string(text), `"cpu_us_per_op":16.66`)
	var back report
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, results, back)
}

func TestProcessorTime_counts_children_that_have_ended(t *testing.T) {
	before := processorTime()
	cmd := exec.Command(os.Args[0], "echo") // its standard input is empty, so it ends
	require.NoError(t, cmd.Run())
	used := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	require.Positive(t, used)
	require.GreaterOrEqual(t, processorTime()-before, used)
}
