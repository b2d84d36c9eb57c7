package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"raftworkbook/common/wire"
)

const (
	// statusTime bounds the wait for a node's status.
	statusTime = 500 * time.Millisecond

	// tableWidth is how many characters a line of the table has at most.
	tableWidth = 80
)

// statusColumns are what nodes tell of themselves, with their headings, what matters least last. One that no
// node tells is left out.
var statusColumns = []statusColumn{
	{"role", "role"},
	{"term", "term"},
	{"leader", "leader"},
	{"peers", "peers"},
	{"last_index", "last"},
	{"commit_index", "commit"},
	{"applied_index", "applied"},
	{"snapshot_index", "snap"},
	{"log_bytes", "log"},
	{"keys", "keys"},
	{"clients", "clients"},
}

type statusColumn struct{ field, heading string }

// runStatus writes one line for each node, and one for the faults. Nodes are asked directly: the table
// shows how things are, whatever links are cut.
func runStatus(ctx context.Context, l *Lab, args []word) (string, error) {
	if len(args) > 0 {
		return "", tooMuch(args)
	}
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	all := l.all()
	rows := make([]statusRow, len(all))
	var wg sync.WaitGroup
	for i, m := range all {
		wg.Go(func() {
			rows[i] = statusRow{id: m.ID, process: m.state()}
			if rows[i].process == "running" {
				rows[i].says = l.askStatus(ctx, m)
			}
		})
	}
	wg.Wait()
	return table(rows) + l.faultLine(), nil
}

// A statusRow is one node: its process, and what it says of itself, nil if it says nothing.
type statusRow struct {
	id, process string
	says        map[string]any
}

// table writes rows with aligned columns; - stands for what a node does not say. So that it fits tableWidth,
// the last columns are left out where it would not.
func table(rows []statusRow) string {
	columns := slices.Clone(statusColumns)
	columns = slices.DeleteFunc(columns, func(c statusColumn) bool {
		return !slices.ContainsFunc(rows, func(r statusRow) bool { return r.says[c.field] != nil })
	})
	for {
		text := align(rows, columns)
		tooWide := func(line string) bool { return len([]rune(line)) > tableWidth }
		if len(columns) == 0 || !slices.ContainsFunc(strings.Split(text, "\n"), tooWide) {
			return text
		}
		columns = columns[:len(columns)-1]
	}
}

func align(rows []statusRow, columns []statusColumn) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "node\tprocess")
	for _, c := range columns {
		fmt.Fprint(w, "\t", c.heading)
	}
	for _, r := range rows {
		fmt.Fprint(w, "\n", r.id, "\t", r.process)
		for _, c := range columns {
			cell := "-"
			if v := r.says[c.field]; v != nil && v != "" {
				cell = oneLine(c.show(v))
			}
			fmt.Fprint(w, "\t", cell)
		}
	}
	w.Flush()
	return b.String()
}

// show writes what a node says in this column: of bytes, as du -h does.
func (c statusColumn) show(v any) string {
	text := fmt.Sprint(v)
	n, err := strconv.ParseFloat(text, 64)
	if !strings.HasSuffix(c.field, "_bytes") || err != nil || n < 1024 {
		return text
	}
	unit := -1
	for ; n >= 1024 && unit < len(units)-1; unit++ {
		n /= 1024
	}
	return fmt.Sprintf("%.1f%c", n, units[unit])
}

const units = "KMGT"

// askStatus is what a node says of itself; nil if it does not answer.
func (l *Lab) askStatus(ctx context.Context, m *member) map[string]any {
	resp, err := l.askDirectly(ctx, m, wire.Request{Op: "status"})
	if err != nil {
		return nil
	}
	return statusIn(resp)
}

// statusIn is the status in an answer; nil if there is none.
func statusIn(resp wire.Response) map[string]any {
	var status map[string]any
	decoder := json.NewDecoder(strings.NewReader(string(resp.Status)))
	decoder.UseNumber()
	if decoder.Decode(&status) != nil {
		return nil
	}
	return status
}

// askDirectly asks past all faults, over a connection of its own.
func (l *Lab) askDirectly(ctx context.Context, m *member, r wire.Request) (wire.Response, error) {
	conn, err := l.dialDirectly(ctx, m)
	if err != nil {
		return wire.Response{}, fmt.Errorf("%w: %w", wire.ErrNotSent, err)
	}
	c := wire.New(conn)
	defer c.Close()
	return do(ctx, c, r)
}

// Dial connects a client to the node that serves clients at addr, past all faults. Where there is TLS, both have proved
// who they are.
func (l *Lab) Dial(ctx context.Context, addr string) (net.Conn, error) {
	for _, m := range l.all() {
		if m.Client == addr {
			return l.dialDirectly(ctx, m)
		}
	}
	return nil, fmt.Errorf("no node serves clients at %s", addr)
}

func (l *Lab) dialDirectly(ctx context.Context, m *member) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", m.Client)
	if err == nil {
		conn, err = l.authority.prove(ctx, conn, m.ID)
	}
	return conn, err
}
