package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"raftworkbook/common/wire"
)

// A fakeNode is led by n1, or by whoever is told to put and finds it dead. A follower asks the leader how much it has
// whenever it is asked itself, and then has that too. Its file has a byte for each entry. A get finds what was put last,
// whatever the key. The leader refuses a put when it has as many entries as FAKE_FULL says next; a node does not start
// again where FAKE_ONCE is set, and each start adds a line to the file that FAKE_STARTS names: who, and with how many
// entries; so does a new leader.
type fakeNode struct {
	id     string
	leader string // its address; empty if this node is it

	mu    sync.Mutex
	log   *os.File
	last  uint64
	value *string
	full  []string // after how many puts it refuses one
}

// runFakeNode is what a lab starts here.
func runFakeNode(args []string) error {
	flags := flag.NewFlagSet("node", flag.ExitOnError)
	flags.Bool("leash", false, "")
	flags.Bool("bootstrap", false, "")
	values := map[string]*string{}
	for _, name := range []string{"id", "listen", "peer", "cluster", "data", "tls-cert", "tls-key", "tls-ca"} {
		values[name] = flags.String(name, "", "")
	}
	flags.Parse(args)
	id, addr, data := *values["id"], *values["listen"], *values["data"]

	f := &fakeNode{id: id, full: strings.Fields(os.Getenv("FAKE_FULL"))}
	if id != "n1" {
		n1, _, _ := strings.Cut(*values["cluster"], ",")
		_, f.leader, _ = strings.Cut(n1, "/")
	}
	if err := os.Mkdir(data, 0o755); errors.Is(err, os.ErrExist) && os.Getenv("FAKE_ONCE") != "" {
		return errors.New("I was here before")
	}
	var err error
	path := os.DevNull // before stage 3
	if data != "" {
		path = filepath.Join(data, "log")
	}
	if f.log, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o644); err != nil {
		return err
	}
	info, err := f.log.Stat()
	if err != nil {
		return err
	}
	f.last = uint64(info.Size())
	if err := tell(os.Getenv("FAKE_STARTS"), fmt.Sprintf("%s %d\n", id, f.last)); err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	if *values["tls-cert"] != "" {
		if l, err = secure(l, *values["tls-cert"], *values["tls-key"], *values["tls-ca"]); err != nil {
			return err
		}
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Printf("%s listening on %s\n", id, addr)
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer conn.Close()
			answering(f.answer)(conn)
		}()
	}
}

// secure has l and those that connect to it prove who they are.
func secure(l net.Listener, cert, key, ca string) (net.Listener, error) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	authority, err := os.ReadFile(ca)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	return tls.NewListener(l, &tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool,
	}), err
}

// tell adds a line to a file.
func tell(path, line string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line)
	return errors.Join(err, f.Close())
}

func (f *fakeNode) answer(line string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var q wire.Request
	if err := json.Unmarshal([]byte(line), &q); err != nil {
		return err.Error()
	}
	r := wire.Response{ID: q.ID, OK: true}
	if q.Op == "put" && f.leader != "" {
		if _, err := statusOf(context.Background(), f.leader); errors.Is(err, syscall.ECONNREFUSED) {
			f.leader = ""
			tell(os.Getenv("FAKE_STARTS"), f.id+" leads\n")
		}
	}
	switch {
	case q.Op == "put" && f.leader != "":
		r.OK, r.Error = false, &wire.Error{Code: "not_leader", Leader: f.leader}
	case q.Op == "put" && len(f.full) > 0 && fmt.Sprint(f.last) == f.full[0]:
		f.full = f.full[1:]
		r.OK, r.Error = false, &wire.Error{Code: "unavailable"}
	case q.Op == "put":
		f.append(f.last + 1)
		f.value = q.Value
	case q.Op == "get":
		r.Found, r.Value = new(f.value != nil), f.value
	case q.Op == "status":
		if f.leader != "" {
			leader, err := statusOf(context.Background(), f.leader)
			if err == nil {
				f.append(leader.Last)
			}
		}
		r.Status, _ = json.Marshal(map[string]any{"node": f.id, "leader": "n1", "last_index": f.last, "commit_index": f.last,
			"applied_index": f.last, "snapshot_index": f.last / 10 * 10, "log_bytes": f.last % 10})
	}
	b, _ := json.Marshal(r)
	return string(b)
}

func (f *fakeNode) append(last uint64) {
	f.log.Write(make([]byte, last-f.last))
	f.last = last
}

// lifeOfAFake measures a cluster of fakes that gets 50 puts, and returns the starts of its nodes too.
func lifeOfAFake(t *testing.T) (compaction, []string, error) {
	fake, starts := newFake(t, 6)
	b := quick()
	b.entries = 50
	var r compaction
	err := b.lifeOfALog(context.Background(), fake, &r)
	require.NoDirExists(t, filepath.Join(filepath.Dir(fake.bin), "data"))
	return r, starts(), err
}

// newFake is a stage of fakes. The function tells of their starts.
func newFake(t *testing.T, number int) (fake stage, starts func() []string) {
	path := filepath.Join(t.TempDir(), "starts")
	t.Setenv("FAKE_STARTS", path)
	bin := filepath.Join(t.TempDir(), "bin") // the data is beside it
	require.NoError(t, os.Symlink(os.Args[0], bin))
	return stage{number: number, name: fmt.Sprintf("stage %d", number), bin: bin}, func() []string {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		return strings.Fields(string(text))
	}
}

func TestCompaction_restarts_a_follower_with_what_it_had_and_then_with_nothing(t *testing.T) {
	r, starts, err := lifeOfAFake(t)
	require.NoError(t, err)
	const puts = 51 // one finds the leader
	require.Equal(t, []diskRow{
		{Node: "n1", Most: puts, Bytes: puts, Log: 1, Entries: 1},
		{Node: "n2", Most: puts, Bytes: puts, Log: 1, Entries: 1},
		{Node: "n3", Most: puts, Bytes: puts, Log: 1, Entries: 1},
	}, r.Disks)
	require.Equal(t, "n2", r.Node)
	require.EqualValues(t, puts, r.Applied)
	require.Equal(t, []string{"n2", "51", "n2", "0"}, starts[6:])
	for _, measured := range []micros{r.Restart, r.CatchUp, r.P99Before} {
		require.Positive(t, measured)
	}
}

func TestCompaction_puts_again_what_was_refused(t *testing.T) {
	t.Setenv("FAKE_FULL", "30 60") // while the log becomes long, and later
	r, _, err := lifeOfAFake(t)
	require.NoError(t, err)
	require.EqualValues(t, 2, r.Again)
}

func TestWriters_end_where_there_is_no_leader(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var asked atomic.Int32
	addr := listen(t, answering(func(string) string {
		if asked.Add(1) == 60 { // each of ten writers has looked for a leader by then
			cancel()
		}
		return `{"id":1,"ok":false,"error":{"code":"unavailable"}}`
	}))
	w := &writers{load: load{op: "put", conns: fillConns, size: 10, keys: 5, connect: overTCP}, addrs: []string{addr}, leader: addr}
	require.NoError(t, w.start(ctx, 10))
	puts, err := w.wait()
	require.ErrorContains(t, err, "no node takes a put: ")
	require.Empty(t, puts)
}

func TestCompaction_fails_where_a_node_does_not_start_again(t *testing.T) {
	t.Setenv("FAKE_ONCE", "1")
	_, _, err := lifeOfAFake(t)
	require.EqualError(t, err, "restart of n2: n2 does not start: exit status 1: I was here before")
}

func TestFollowing_has_caught_up_once_it_has_been_close_for_a_while(t *testing.T) {
	start := time.Now()
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	for _, c := range []struct {
		name    string
		asked   []float64 // when, in seconds
		leader  []uint64
		follows []uint64
		since   float64 // when it was close; the last time that it was asked is when that is known
	}{
		{"at once", []float64{0, 1}, []uint64{10, 99}, []uint64{10, 10}, 0},
		{"as far as the leader was at first", []float64{0, 0.5, 0.9, 1.9}, []uint64{10, 20, 30, 40}, []uint64{0, 9, 10, 30}, 0.9},
		{"falls behind again", []float64{0, 0.5, 1.5, 2.5, 3.5}, []uint64{10, 20, 30, 40, 50}, []uint64{10, 10, 19, 30, 40}, 2.5},
	} {
		f := following{behind: time.Second}
		for i, s := range c.asked {
			require.Equal(t, i == len(c.asked)-1, f.caughtUp(at(s), c.leader[i], c.follows[i]), "%s, after %vs", c.name, s)
		}
		require.Equal(t, at(c.since), f.since, c.name)
	}
}

func TestLatencies_are_those_of_puts_that_were_sent_in_the_time(t *testing.T) {
	start := time.Now()
	var puts []put
	for i := range 4 {
		puts = append(puts, put{start.Add(time.Duration(i)), time.Duration(i)})
	}
	h := latencies(puts, puts[1].at, puts[3].at)
	require.Equal(t, 2, h.total())
	require.Equal(t, []time.Duration{1, 2}, []time.Duration{h.percentile(50), h.percentile(100)})
}

func TestSnapshotCost_is_that_of_a_put_beside_the_stage_before(t *testing.T) {
	var turns []string
	here := func(name, answer string) contender {
		return contender{name: name, echoes: answer == "", start: func(context.Context) (*server, error) {
			turns = append(turns, name)
			if answer == "" {
				return startHere(t, echo), nil
			}
			var answers atomic.Int64
			return startHere(t, answering(func(line string) string {
				if answers.Add(1) == 1 {
					return fmt.Sprintf(`{"id":%d,"ok":true}`, firstID)
				}
				return answer
			})), nil
		}}
	}
	b := quick(1, 2)
	b.ops, b.durable = []string{"get"}, true
	var r compaction
	require.NoError(t, b.snapshotCost(context.Background(), here("stage 5", ""), here("stage 6", ""), &r))
	require.Equal(t, "stage 5", r.Before)
	require.Equal(t, slices.Repeat([]string{"stage 5", "stage 5", "stage 6", "stage 6"}, 3), turns) // with load, and without
	require.Positive(t, r.CPU)
	require.Positive(t, r.CPUBefore)
	require.Positive(t, r.CPUVsBefore)

	require.Empty(t, r.Errors)
	b.rounds = 1
	require.NoError(t, b.snapshotCost(context.Background(), here("stage 5", ""), here("stage 6", "frob"), &r))
	require.Equal(t, []string{"no JSON"}, slices.Collect(maps.Keys(r.Errors)))
}
