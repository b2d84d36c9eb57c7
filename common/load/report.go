package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"runtime"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// A report is what a run has found of one stage.
type report struct {
	Stage int `json:"stage"`
	Nodes int `json:"nodes"`
	setting
	Rows []row `json:"rows"`
	// Idle is what open connections cost.
	Idle []idleRow `json:"idle"`
	// Compaction is nil if it was not measured.
	Compaction *compaction `json:"compaction,omitempty"`
}

// A setting is the machine and what is measured on it.
type setting struct {
	System  string  `json:"system"`
	Cores   int     `json:"cores"`
	Go      string  `json:"go"`
	Size    int     `json:"value_bytes"`
	Keys    int     `json:"keys"`
	Rounds  int     `json:"rounds"`
	Seconds float64 `json:"seconds"`
	// Flush is the median time of an append and a flush to a file in Dir; 0 if the disk was not asked.
	Flush micros `json:"flush_us,omitempty"`
	Dir   string `json:"dir,omitempty"`
}

// An idleRow is by how much a contender grows with idle connections.
type idleRow struct {
	Server string `json:"server"`
	Conns  int    `json:"connections"`
	Bytes  int64  `json:"bytes"`
}

// setting describes the machine and what is to be measured.
func (b *bench) setting() setting {
	return setting{
		System:  runtime.GOOS + "/" + runtime.GOARCH,
		Cores:   runtime.NumCPU(),
		Go:      runtime.Version(),
		Size:    b.size,
		Keys:    b.keys,
		Rounds:  b.rounds,
		Seconds: b.length.Seconds(),
	}
}

// errors is how many requests got no right answer.
func (r report) errors() int {
	total := errorsOf(r.Rows)
	if r.Compaction != nil {
		total += count(r.Compaction.Errors)
	}
	return total
}

func errorsOf(rows []row) int {
	total := 0
	for _, row := range rows {
		total += row.errors()
	}
	return total
}

func (r row) errors() int { return count(r.Errors) }

func count(errors map[string]int) int {
	total := 0
	for _, n := range errors {
		total += n
	}
	return total
}

const legend = `Each number is the median of the rounds; a ratio is to echo in the same round. p50, p95 and p99 are up to 1.6 % high.
cpu/op is the processor time of servers and generator together. echo: sends lines back. durable: flushes them first.
`

// print writes the report for people.
func (r report) print(w io.Writer) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "stage %d, %s, on %s with %s and %s\n",
		r.Stage, plural(r.Nodes, "node"), r.System, plural(r.Cores, "core"), r.Go)
	if r.Flush > 0 {
		fmt.Fprintf(&out, "processes on loopback, files in %s, which takes %s to append a value and flush it\n", r.Dir, r.Flush)
	}
	fmt.Fprintf(&out, "values of %s, %s, %s of %s for each number of connections\n",
		plural(r.Size, "byte"), plural(r.Keys, "key"), plural(r.Rounds, "round"),
		time.Duration(r.Seconds*float64(time.Second)))

	table := tabwriter.NewWriter(&out, 0, 0, 2, ' ', tabwriter.AlignRight)
	var last cell
	for _, row := range r.Rows {
		if row.Conns != last.conns || row.Op != last.op {
			fmt.Fprintln(table, strings.Repeat("\t", 11)) // a line without cells would end the columns
		}
		if row.Op != last.op {
			fmt.Fprint(table, "op\tconns\tserver\tops/s\tp50\tp95\tp99\tcpu/op\terrors\tops/s ratio\tcpu/op ratio\t\n")
		}
		last = cell{row.Op, row.Conns}
		fmt.Fprintf(table, "%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t\n",
			row.Op, row.Conns, row.Server, grouped(row.Throughput), row.P50, row.P95, row.P99, row.CPU,
			row.errors(), row.ratio(row.ThroughputVsEcho), row.ratio(row.CPUVsEcho))
	}
	table.Flush()
	fmt.Fprintln(&out)
	printErrors(&out, r.Rows)
	for _, i := range r.Idle {
		fmt.Fprintf(&out, "%d idle connections cost %s %.1f MB\n", i.Conns, i.Server, float64(i.Bytes)/1e6)
	}
	for _, row := range r.Rows {
		if r.Flush > 0 && row.Op == "put" && row.Conns == 1 && row.Server != "echo" {
			fmt.Fprintf(&out, "put, 1 connection, %s: p50 = %.1f flushes\n", row.Server, row.P50/r.Flush)
		}
	}
	fmt.Fprint(&out, "\n"+legend)
	if r.Compaction != nil {
		r.Compaction.print(&out)
	}
	for line := range strings.Lines(out.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil { // the table fills its lines
			return err
		}
	}
	return nil
}

// printErrors says which requests got no right answer.
func printErrors(w io.Writer, rows []row) {
	for _, row := range rows {
		if row.errors() > 0 {
			fmt.Fprintf(w, "errors: %s, %s, %s: %s\n", row.Op, plural(row.Conns, "connection"), row.Server, list(row.Errors))
		}
	}
}

// ratio is n as text, but for echo, whose ratio to itself says nothing.
func (r row) ratio(n float64) string {
	if r.Server == "echo" {
		return ""
	}
	return strconv.FormatFloat(n, 'f', 2, 64)
}

// String is the time with three digits: 7.25µs, 31.4ms, 1.20s.
func (m micros) String() string {
	n, unit := float64(m), "µs"
	for _, larger := range []string{"ms", "s"} {
		if n < 999.5 {
			break
		}
		n, unit = n/1000, larger
	}
	digits := 2 - max(0, int(math.Floor(math.Log10(max(n, 1)))))
	return strconv.FormatFloat(n, 'f', max(0, digits), 64) + unit
}

// grouped is n without a fraction, its digits in threes.
func grouped(n float64) string {
	text := strconv.FormatFloat(n, 'f', 0, 64)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func plural(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return grouped(float64(n)) + " " + noun
}
