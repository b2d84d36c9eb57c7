package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"raftworkbook/common/stages/tree"
)

func TestOverview_measures_stages_side_by_side(t *testing.T) {
	first, _ := newFake(t, 0)
	last, starts := newFake(t, 5)
	b := quick(2)
	b.dir, b.rounds, b.entries = t.TempDir(), 1, 50
	r, err := b.sideBySide(context.Background(), []stage{first, last})
	require.NoError(t, err)

	var rows []string
	for _, row := range r.Rows {
		rows = append(rows, row.Op+" "+row.Server)
		require.Positive(t, row.Throughput)
		require.Empty(t, row.Errors)
	}
	require.Equal(t, []string{"put echo", "put durable", "put stage 0", "put stage 5", "get echo", "get stage 0", "get stage 5"}, rows)
	require.Positive(t, r.Flush)
	require.Len(t, r.Steps, 1)
	require.Equal(t, 2, r.Steps[0].Conns)

	require.Len(t, r.Lives, 2)
	for i, l := range r.Lives {
		require.Greater(t, l.Idle, int64(1<<20))
		require.Greater(t, l.Full, l.Idle)
		require.Equal(t, []int{1, 3}[i], l.Nodes)
		require.Equal(t, i == 1, l.Restart > 0)
		require.Equal(t, i == 1, l.FailOver > 0)
	}
	told := starts()
	restart, failOver := told[len(told)-10:len(told)-8], told[len(told)-2:] // and between them three starts
	require.Equal(t, []string{"n2", "51"}, restart, "one put finds the leader")
	require.Equal(t, []string{"n2", "leads"}, failOver)
}

func TestOverview_measures_the_last_stage_with_TLS_too(t *testing.T) {
	fake, _ := newFake(t, 7)
	require.Equal(t, []stage{{number: 6}}, withTLS([]stage{{number: 6}}))
	stages := withTLS([]stage{{number: 6}, fake})
	require.Equal(t, []stage{{number: 6}, fake}, stages[:2])
	require.Equal(t, "stage 7, with TLS", stages[2].name)

	ctx := context.Background()
	secure, err := stages[2].contender().start(ctx)
	require.NoError(t, err)
	defer func() { require.NoError(t, secure.stop()) }()
	r, err := drive(ctx, secure.addr, load{op: "get", conns: 2, size: 10, keys: 5, length: time.Millisecond, connect: secure.connect})
	require.NoError(t, err)
	require.Positive(t, r.good)
	require.Empty(t, r.errors)
	_, err = statusOf(ctx, secure.addr)
	require.Error(t, err, "without a certificate")
}

func TestOverview_says_which_stage_failed(t *testing.T) {
	t.Setenv("FAKE_ONCE", "1")
	fake, _ := newFake(t, 3)
	b := quick()
	b.entries = 5
	_, err := b.life(context.Background(), fake)
	require.EqualError(t, err, "restart: n2 does not start: exit status 1: I was here before")
}

func TestNodeMemory_is_that_of_one_node(t *testing.T) {
	fake, _ := newFake(t, 0)
	c, err := fake.start(context.Background())
	require.NoError(t, err)
	defer func() { require.NoError(t, c.stop()) }()
	for id, runs := range map[string]bool{"n1": true, "n": false, "n2": false} {
		held, err := nodeMemory(id)
		require.NoError(t, err)
		require.Equal(t, runs, held > 0, id)
	}
}

func TestSteps_compare_processor_time_with_the_stage_before(t *testing.T) {
	var samples []sample
	add := func(op string, conns int, server string, times ...int) {
		for round, us := range times {
			s := sample{cell: cell{op, conns}, server: server, round: round, cpu: time.Duration(us) * time.Microsecond}
			s.good = 1
			samples = append(samples, s)
		}
	}
	for _, conns := range []int{64, 256} {
		add("put", conns, "stage 2", 10*conns, 20*conns, 90*conns)
		add("put", conns, "stage 3", 20, 40, 90)
		add("get", conns, "stage 2", 1, 1, 1)
		add("get", conns, "stage 3", 3, 3, 3)
		add("put", conns, "stage 4", 10, 60, 90)
	}
	got := steps(samples, []stage{{name: "stage 2"}, {name: "stage 3"}, {name: "stage 4"}}, 64)
	require.Equal(t, []step{{"stage 3", 64, 2.0 / 64, 3}, {"stage 4", 64, 1, 0}}, got)
}

func TestLongestGap_is_between_answers(t *testing.T) {
	start := time.Now()
	at := func(sent, answered int) put {
		return put{start.Add(time.Duration(sent)), time.Duration(answered - sent)}
	}
	require.Zero(t, longestGap(nil))
	require.Zero(t, longestGap([]put{at(0, 9)})) // there is no other
	require.EqualValues(t, 60, longestGap([]put{at(0, 10), at(20, 40), at(50, 100), at(100, 150)}))
}

func TestRatio_has_two_digits(t *testing.T) {
	for want, n := range map[string]float64{"·": 0, "0.0012": 0.00123, "0.025": 0.0251, "0.10": 0.0996, "0.99": 0.994, "1.0": 0.996, "9.9": 9.94, "10": 9.96, "345": 345.4} {
		require.Equal(t, want, ratio(n), n)
	}
}

// sides is an overview with everything in it.
var sides = overview{
	Processor: "Abacus",
	setting: setting{
		System: "plan9/mips", Cores: 2, Go: "go1.99", Size: 100, Keys: 1000, Rounds: 3, Seconds: 0.5, Flush: 400,
	},
	Rows: []row{
		{Op: "put", Conns: 1, Server: "echo", Throughput: 40_000, CPU: 25, ThroughputVsEcho: 1, CPUVsEcho: 1},
		{Op: "put", Conns: 1, Server: "durable", ThroughputVsEcho: 0.05, CPUVsEcho: 8},
		{Op: "put", Conns: 1, Server: "0 server", ThroughputVsEcho: 0.6, CPUVsEcho: 1.5, Errors: map[string]int{"timeout": 2}},
		{Op: "get", Conns: 1, Server: "echo", Throughput: 41_000, CPU: 24, ThroughputVsEcho: 1, CPUVsEcho: 1},
		{Op: "get", Conns: 1, Server: "0 server", ThroughputVsEcho: 0.7, CPUVsEcho: 1.3},
	},
	Lives: []life{
		{Stage: 2, Server: "2 copies", Nodes: 5, Idle: 8_000_000, Full: 20_500_000},
		{Stage: 4, Server: "4 client", Nodes: 3, Idle: 8_000_000, Full: 50_000_000, Restart: 900_000},
		{Stage: 5, Server: "5 election", Nodes: 3, Idle: 8_000_000, Full: 50_000_000, Restart: 1_100_000, FailOver: 450_000},
	},
	Entries: 100_000,
	Steps:   []step{{"5 election", 64, 0.99, 2}},
}

func TestOverview_prints_tables_in_Markdown(t *testing.T) {
	var out strings.Builder
	require.NoError(t, sides.print(&out))
	require.Empty(t, cmp.Diff(`Abacus, 2 cores, plan9/mips, go1.99. Values of 100 bytes, 1,000 keys, 3 rounds of 500ms.
To append one value to a file and flush it takes 400µs.

Throughput, as a ratio to echo:

| connections | put, 1 | get, 1 |
|---|--:|--:|
| echo | 40,000/s | 41,000/s |
| durable | 0.050 | · |
| 0 server | 0.60 | 0.70 |

Processor time of an operation, as a ratio to echo:

| connections | put, 1 | get, 1 |
|---|--:|--:|
| echo | 25.0µs | 24.0µs |
| durable | 8.0 | · |
| 0 server | 1.5 | 1.3 |

The leader's memory before and after 100,000 puts, the restart of a follower that has them, and fail-over:

| stage | nodes | idle | full | restart | fail-over |
|---|--:|--:|--:|--:|--:|
| 2 copies | 5 | 8.0 MB | 20.5 MB | · | never |
| 4 client | 3 | 8.0 MB | 50.0 MB | 900ms | by order |
| 5 election | 3 | 8.0 MB | 50.0 MB | 1.10s | 450ms |

Processor time with 64 connections, as a ratio to the stage before:

| stage | put | get |
|---|--:|--:|
| 5 election | 0.99 | 2.0 |

errors: put, 1 connection, 0 server: 2 × timeout
`, out.String()))
	require.Equal(t, 2, sides.errors())
}

// The figures are measured anew by "make bench"; this holds that no stage and no column is missing.
func TestReadme_has_the_tables_that_are_printed(t *testing.T) {
	root, err := tree.Root(".")
	require.NoError(t, err)
	found, err := tree.Stages(root)
	require.NoError(t, err)
	o, err := parse([]string{"all"}, nil)
	require.NoError(t, err)

	servers := []stage{{name: "echo"}, {name: "durable"}}
	r := overview{Entries: o.entries}
	for _, f := range found {
		servers = append(servers, stage{number: f.Number, name: title(f)})
		l := life{Stage: f.Number, Server: title(f)}
		if f.Number >= firstDurableStage {
			l.Restart = 1
		}
		r.Lives = append(r.Lives, l)
	}
	servers = withTLS(servers)
	for _, op := range o.ops {
		for _, conns := range o.conns {
			for _, s := range servers {
				if s.name != "durable" || op == "put" {
					r.Rows = append(r.Rows, row{Op: op, Conns: conns, Server: s.name, ThroughputVsEcho: 1, CPUVsEcho: 1})
				}
			}
		}
	}
	for _, s := range servers[3:] {
		r.Steps = append(r.Steps, step{s.name, o.conns[len(o.conns)/2], 1, 1})
	}
	var out strings.Builder
	require.NoError(t, r.print(&out))
	_, tables, _ := strings.Cut(out.String(), "\n\n")
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	_, section, _ := strings.Cut(string(readme), "\n## One machine, honestly\n")
	section, _, _ = strings.Cut(section, "\n## ")
	require.True(t, strings.Contains(figureless(section), figureless(tables)),
		"another stage or column in README.md: what \"make bench\" prints belongs there")
}

// figureless has # in place of each number that ends a cell, with its unit.
func figureless(text string) string {
	return regexp.MustCompile(`\| [0-9.,]+(/s|µs|ms|s| MB)? \|`).ReplaceAllString(strings.ReplaceAll(text, "|", "||"), "| # |")
}
