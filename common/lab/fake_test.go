package lab

import (
	"bufio"
	"cmp"
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
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"raftworkbook/common/netfault"
	"raftworkbook/common/wire"
)

// TestMain makes the test binary serve as a node or a stage's own command, if a lab started it, or as a stage's
// binary, of the stage that FAKE_STAGE names.
func TestMain(m *testing.M) {
	if Child() {
		if os.Args[1] == "node" {
			fakeNode()
		} else {
			os.Exit(fakeCommand(os.Args[1], os.Args[2:]))
		}
		return
	}
	if stage := os.Getenv("FAKE_STAGE"); stage != "" {
		os.Exit(Command(int(stage[0]-'0'), 1, os.Args[2:]))
	}
	flag.Parse()
	flag.Set("test.parallel", "4") // most of them wait for a lab
	goleak.VerifyTestMain(m)
}

// A fake is a node that does just enough: a map, a leader that tells all others of each write and does not
// care who hears it, and a file if it has a directory. With one it leads by order, or if FAKE_ELECTED names it.
// It does not know the operation that FAKE_LACKS names. It remembers sessions, but only where they were opened and
// not on its disk, and is as old as the last write that it was told of. It does each change of the members at once, but
// where FAKE_CHANGE says slow the first one not in time, where that says late none that adds a node, and where it says
// never none at all; a node that joins knows of nobody until it hears of that.
type fake struct {
	id, via        string
	clients, peers map[string]string // addresses by node
	file           string

	mu        sync.Mutex
	leader    string
	committed bool // what it had when it was told to lead
	term      int
	log       []string
	traced    bool
	snapshot  int // how long the log was when there was one last
	data      map[string]string
	sessions  map[uint64]map[uint64]map[string]any // answers by session and number
	told      time.Time
	joining   bool
	changes   int // how many it was asked for
	tls       *tls.Config
}

// commitTime is how long a fake that was told to lead takes to be of use.
const commitTime = 50 * time.Millisecond

func fakeNode() {
	flags := flag.NewFlagSet("node", flag.ExitOnError)
	f := &fake{clients: map[string]string{}, peers: map[string]string{}, data: map[string]string{}, committed: true, term: 1234,
		sessions: map[uint64]map[uint64]map[string]any{}, told: time.Now()}
	flags.StringVar(&f.id, "id", "", "")
	flags.StringVar(&f.leader, "leader", "n1", "")
	flags.StringVar(&f.via, "via", "", "")
	listen, peer := flags.String("listen", "", ""), flags.String("peer", "", "")
	cluster, dir := flags.String("cluster", "", ""), flags.String("data", "", "")
	leash := flags.Bool("leash", false, "")
	flags.Bool("bootstrap", false, "")
	join := flags.String("join", "", "")
	cert, key, ca := flags.String("tls-cert", "", ""), flags.String("tls-key", "", ""), flags.String("tls-ca", "", "")
	flags.Parse(os.Args[2:])
	if *cert != "" {
		f.believe(*cert, *key, *ca)
	}
	if *cluster == "" {
		f.leader = f.id
	}
	if *join != "" {
		*cluster, f.joining = f.id+"="+*peer+"/"+*listen, true
	}
	for m := range strings.SplitSeq(*cluster, ",") {
		id, addrs, _ := strings.Cut(m, "=")
		f.peers[id], f.clients[id], _ = strings.Cut(addrs, "/")
	}
	if *dir != "" {
		f.load(*dir)
		if f.leader = os.Getenv("FAKE_ELECTED"); f.leader == f.id {
			f.lead()
		}
		if f.joining {
			f.leader = ""
		}
	}
	for _, addr := range []string{*listen, *peer} {
		if addr != "" {
			l, err := net.Listen("tcp", addr)
			if err != nil {
				f.die(err)
			}
			if f.tls != nil {
				l = tls.NewListener(l, f.tls)
			}
			go f.accept(l)
		}
	}
	if os.Getenv("FAKE_SLOW") != "" {
		io.Copy(io.Discard, os.Stdin)
	}
	fmt.Printf("%s listening on %s\n", f.id, *listen)
	if *leash {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	select {}
}

func (f *fake) die(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// believe has all prove who they are.
func (f *fake) believe(cert, key, ca string) {
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		f.die(err)
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		f.die(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	f.tls = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool, RootCAs: pool}
}

func (f *fake) load(dir string) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		f.die(err)
	}
	f.file = filepath.Join(dir, "data")
	b, err := os.ReadFile(f.file)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err == nil {
		err = json.Unmarshal(b, &f.data)
	}
	if err != nil {
		f.die(fmt.Errorf("the data is damaged: %w", err))
	}
}

func (f *fake) accept(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			f.die(err)
		}
		go func() {
			defer conn.Close()
			lines := bufio.NewScanner(conn)
			lines.Buffer(nil, wire.MaxLine)
			for lines.Scan() {
				var r struct {
					wire.Request
					Told bool `json:"told"` // by the leader
				}
				if json.Unmarshal(lines.Bytes(), &r) != nil {
					return // a stranger: another lab's node may look for its own here
				}
				if err := f.refusal(r.Request); err != nil && !r.Told {
					answer(conn, r.ID, map[string]any{"error": err})
					continue
				}
				if r.Key == "goodbye" {
					answer(conn, 0, map[string]any{"error": wire.Error{Code: "unavailable", Message: "going down"}})
					return
				}
				f.await(r.Request)
				answer(conn, r.ID, f.once(r.Request, r.Told))
				if !r.Told && slices.Contains([]string{"put", "lead", "register", "change", "transfer"}, r.Op) {
					f.tell(r.Request)
				}
			}
		}()
	}
}

// refusal says why a node that does not lead, or not yet, does not take a request of a client.
func (f *fake) refusal(r wire.Request) *wire.Error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case r.Op == os.Getenv("FAKE_LACKS"):
		return &wire.Error{Code: "unknown_op", Message: r.Op}
	case !slices.Contains([]string{"put", "append", "cas", "delete", "register", "change", "transfer"}, r.Op) || f.id == f.leader && f.committed:
		return nil
	case f.leader == "" || f.id == f.leader:
		return &wire.Error{Code: "unavailable", Message: "no leader yet"}
	default:
		return &wire.Error{Code: "not_leader", Message: f.id + " only follows", Leader: f.clients[f.leader]}
	}
}

// lead makes this node the leader. The caller holds the lock, or nobody else knows of f.
func (f *fake) lead() {
	f.leader, f.committed = f.id, false
	time.AfterFunc(commitTime, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.committed = true
	})
}

// add adds to the log. The caller holds the lock.
func (f *fake) add(what string) {
	f.log = append(f.log, fmt.Sprintf("%d@%d %s", len(f.log)+1, f.term, what))
}

func answer(conn net.Conn, id uint64, fields map[string]any) {
	fields["id"], fields["ok"] = id, fields["error"] == nil
	b, _ := json.Marshal(fields)
	conn.Write(append(b, '\n'))
}

// tell sends a write to all others, or that this node leads.
func (f *fake) tell(r wire.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch r.Op {
	case "lead":
		r.Key = f.id
	case "change": // all that there is to know
		all := ""
		for id := range f.peers {
			all += " +" + id + "=" + f.peers[id] + "/" + f.clients[id]
		}
		r.Key, r.Value, r.MinIndex, r.TimeoutMS = f.id, &all, uint64(len(f.log)), 0
	}
	line, _ := json.Marshal(struct {
		wire.Request
		Told bool `json:"told"`
	}{r, true})
	line = append(line, '\n')
	for id, addr := range f.peers {
		if addr == "" || id == f.id {
			continue
		}
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			var conn net.Conn
			var err error
			if f.via != "" {
				conn, err = netfault.Dial(ctx, f.via, f.id, addr)
			} else {
				conn, err = net.Dial("tcp", addr)
			}
			if err != nil {
				return
			}
			if f.tls != nil {
				config := f.tls.Clone()
				config.ServerName = id
				conn = tls.Client(conn, config)
			}
			conn.Write(line)
			conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			bufio.NewReader(conn).ReadString('\n')
			conn.Close()
		}()
	}
}

// await waits, within the time of a read, until this node is as new as the read wants.
func (f *fake) await(r wire.Request) {
	if r.Op == "change" && os.Getenv("FAKE_CHANGE") == "slow" {
		time.Sleep(progressPause + progressPause/2)
	}
	deadline := time.Now().Add(time.Duration(r.TimeoutMS) * time.Millisecond)
	for again := time.NewTicker(time.Millisecond); f.index() < r.MinIndex && time.Now().Before(deadline); <-again.C {
	}
}

// index is how much has happened here.
func (f *fake) index() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return uint64(len(f.log))
}

// once carries out what has not been done before.
func (f *fake) once(r wire.Request, told bool) (answer map[string]any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if told {
		f.told = time.Now()
	}
	if r.Session != 0 && !told {
		answers, known := f.sessions[r.Session]
		if answers[r.Seq] != nil {
			return maps.Clone(answers[r.Seq])
		}
		if !known || r.Seq < r.Done {
			return map[string]any{"error": wire.Error{Code: "session_expired", Message: "who?"}}
		}
		defer func() { answers[r.Seq] = maps.Clone(answer) }()
	}
	answer = f.apply(r, told)
	answer["index"] = len(f.log)
	return answer
}

// apply carries a request out. The caller holds the lock.
func (f *fake) apply(r wire.Request, told bool) map[string]any {
	if f.traced {
		fmt.Fprintf(os.Stderr, "%s arrives\n  a thought of %s\n  another\n", r.Op, f.id)
	}
	old, found := f.data[r.Key]
	switch r.Op {
	case "register":
		f.add("register")
		if !told {
			f.sessions[uint64(len(f.log))] = map[uint64]map[string]any{}
		}
		return map[string]any{"session": len(f.log)}
	case "lead":
		f.term++
		f.leader = r.Key
		if !told {
			f.lead()
		}
		f.add("no-op")
		return map[string]any{"status": f.status()}
	case "snapshot":
		f.snapshot = len(f.log)
		return map[string]any{"status": f.status()}
	case "members":
		return map[string]any{"members": f.members()}
	case "change":
		return f.change(r, told)
	case "transfer":
		f.term++
		if f.leader = r.Key; f.leader == f.id {
			f.lead()
		}
		return map[string]any{}
	case "log":
		last := f.log[max(0, len(f.log)-cmp.Or(r.Limit, 20)):]
		return map[string]any{"log": last}
	case "trace":
		f.traced = *r.Value == "on"
		return map[string]any{}
	case "get":
		age := time.Since(f.told).Milliseconds()
		switch {
		case uint64(len(f.log)) < r.MinIndex:
			return map[string]any{"error": wire.Error{Code: "stale", Message: f.id + " is behind"}}
		case r.MaxStalenessMS != nil && f.id != f.leader && uint64(age) > *r.MaxStalenessMS:
			return map[string]any{"error": wire.Error{Code: "stale", Message: fmt.Sprintf("%s is %d ms old", f.id, age)}}
		}
		if r.Key == "pid" {
			return map[string]any{"found": true, "value": fmt.Sprint(os.Getpid())}
		}
		return map[string]any{"found": found, "value": old}
	case "put":
		switch r.Key {
		case "crash":
			fmt.Fprintln(os.Stderr, "panic: "+*r.Value+"\n\ngoroutine 1 [running]:")
			os.Exit(2)
		case "say":
			fmt.Println(*r.Value)
		case "big":
			return map[string]any{"error": wire.Error{Code: "too_large", Message: "more\nthan \"enough\""}}
		}
		f.set(r.Key, *r.Value)
		f.add("put " + r.Key + "=" + *r.Value)
		return map[string]any{}
	case "append":
		f.set(r.Key, old+*r.Value)
		return map[string]any{"length": len(f.data[r.Key])}
	case "cas":
		if found != (r.Expect != nil) || found && old != *r.Expect {
			return map[string]any{"swapped": false, "found": found, "value": old}
		}
		f.set(r.Key, *r.Value)
		return map[string]any{"swapped": true}
	case "delete":
		delete(f.data, r.Key)
		return map[string]any{"found": found}
	case "list":
		return f.list(r)
	case "status":
		return map[string]any{"status": f.status()}
	}
	return map[string]any{"error": wire.Error{Code: "unknown_op", Message: r.Op}}
}

// change makes others the members. The caller holds the lock.
func (f *fake) change(r wire.Request, told bool) map[string]any {
	f.changes++
	switch why := os.Getenv("FAKE_CHANGE"); {
	case told:
		f.leader, f.joining = r.Key, false
		clear(f.peers)
		clear(f.clients)
		for uint64(len(f.log)) < r.MinIndex {
			f.add("what was before")
		}
	case why == "slow" && f.changes == 1, why == "late" && strings.Contains(*r.Value, "+"):
		return map[string]any{"error": wire.Error{Code: "timeout", Message: "not yet"}}
	case why == "never":
		return map[string]any{"error": wire.Error{Code: "not_level", Message: "it has not enough"}}
	}
	for order := range strings.FieldsSeq(*r.Value) {
		id, addrs, _ := strings.Cut(order[1:], "=")
		delete(f.peers, id)
		delete(f.clients, id)
		if order[0] == '+' {
			f.peers[id], f.clients[id], _ = strings.Cut(addrs, "/")
		}
	}
	return map[string]any{"members": f.members()}
}

func (f *fake) members() []wire.Member {
	var all []wire.Member
	for _, id := range slices.Sorted(maps.Keys(f.peers)) {
		all = append(all, wire.Member{ID: id, Peer: f.peers[id], Client: f.clients[id], State: "voter"})
	}
	return all
}

// status is what a node says of itself. The caller holds the lock.
func (f *fake) status() map[string]any {
	last := 1234567
	if f.joining {
		last = 1200
	}
	role, commit := "follower", last
	if f.id == f.leader {
		role = "leader"
	}
	if !f.committed {
		commit--
	}
	status := map[string]any{
		"node": f.id, "role": role, "term": f.term, "leader": f.leader, "peers": len(f.peers) - 1,
		"last_index": last, "commit_index": commit, "applied_index": commit, "keys": len(f.data), "clients": 100,
		"cluster": "fakes",
	}
	if f.snapshot > 0 {
		status["snapshot_index"], status["log_bytes"] = f.snapshot, 4<<20
	}
	return status
}

func (f *fake) set(key, value string) {
	f.data[key] = value
	if f.file != "" {
		b, _ := json.Marshal(f.data)
		err := os.WriteFile(f.file+".new", b, 0o644) // a kill at any moment leaves the old one or the new one
		if err = errors.Join(err, os.Rename(f.file+".new", f.file)); err != nil {
			f.die(err)
		}
	}
}

func (f *fake) list(r wire.Request) map[string]any {
	var keys, prefixes []string
	for k := range f.data {
		rest, ok := strings.CutPrefix(k, r.Prefix)
		if !ok {
			continue
		}
		if i := strings.Index(rest, r.Delimiter); r.Delimiter != "" && i >= 0 {
			prefixes = append(prefixes, r.Prefix+rest[:i+len(r.Delimiter)])
			continue
		}
		keys = append(keys, k)
	}
	slices.Sort(keys)
	slices.Sort(prefixes)
	more := len(keys) > 3
	if more {
		keys = keys[:3]
	}
	return map[string]any{"keys": keys, "prefixes": slices.Compact(prefixes), "more": more}
}

// fakeCommand stands in for a stage's own command.
func fakeCommand(name string, args []string) int {
	switch name {
	case "say":
		fmt.Println(strings.Join(args, "\n"))
	case "servers":
		fmt.Println(os.Getenv(serversEnv))
	case "nothing":
		fmt.Println()
	case "flood":
		fmt.Print(strings.Repeat("x", maxOutput), "y")
	case "fail":
		fmt.Println("half an answer")
		fmt.Fprintf(os.Stderr, "%s\nmore\n", strings.Join(args, " "))
		return 2
	case "fall":
		return 3
	case "hang": // together with a child
		child := exec.Command("sleep", "3600")
		child.Start()
		os.WriteFile(args[0], fmt.Appendf(nil, "%d %d\n", os.Getpid(), child.Process.Pid), 0o644)
		child.Wait()
	}
	return 0
}
