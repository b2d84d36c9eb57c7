package lab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
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

// TestMain makes the test binary serve as a node, if a lab started it, or as a stage's binary, of the
// stage that FAKE_STAGE names.
func TestMain(m *testing.M) {
	if Child() {
		fakeNode()
		return
	}
	if stage := os.Getenv("FAKE_STAGE"); stage != "" {
		os.Exit(Command(int(stage[0]-'0'), 1, os.Args[2:]))
	}
	goleak.VerifyTestMain(m)
}

// A fake is a node that does just enough: a map, a fixed leader that tells all others of each write and
// does not care who hears it, and a file if it has a directory.
type fake struct {
	id, leader, via string
	clients, peers  map[string]string // addresses by node
	file            string

	mu   sync.Mutex
	data map[string]string
}

func fakeNode() {
	flags := flag.NewFlagSet("node", flag.ExitOnError)
	f := &fake{clients: map[string]string{}, peers: map[string]string{}, data: map[string]string{}}
	flags.StringVar(&f.id, "id", "", "")
	flags.StringVar(&f.leader, "leader", "n1", "")
	flags.StringVar(&f.via, "via", "", "")
	listen, peer := flags.String("listen", "", ""), flags.String("peer", "", "")
	cluster, dir := flags.String("cluster", "", ""), flags.String("data", "", "")
	leash := flags.Bool("leash", false, "")
	flags.Parse(os.Args[2:])
	if *cluster == "" {
		f.leader = f.id
	}
	for m := range strings.SplitSeq(*cluster, ",") {
		id, addrs, _ := strings.Cut(m, "=")
		f.peers[id], f.clients[id], _ = strings.Cut(addrs, "/")
	}
	if *dir != "" {
		f.load(*dir)
	}
	for _, addr := range []string{*listen, *peer} {
		if addr != "" {
			l, err := net.Listen("tcp", addr)
			if err != nil {
				f.die(err)
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
				if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
					f.die(err)
				}
				if !r.Told && f.id != f.leader && r.Op != "get" && r.Op != "list" && r.Op != "status" {
					answer(conn, r.ID, map[string]any{"error": wire.Error{Code: "not_leader", Message: f.id + " only follows", Leader: f.clients[f.leader]}})
					continue
				}
				if r.Key == "goodbye" {
					answer(conn, 0, map[string]any{"error": wire.Error{Code: "unavailable", Message: "going down"}})
					return
				}
				answer(conn, r.ID, f.apply(r.Request))
				if !r.Told && f.id == f.leader && r.Op == "put" {
					f.tell(r.Request)
				}
			}
		}()
	}
}

func answer(conn net.Conn, id uint64, fields map[string]any) {
	fields["id"], fields["ok"] = id, fields["error"] == nil
	b, _ := json.Marshal(fields)
	conn.Write(append(b, '\n'))
}

// tell sends a write to all others.
func (f *fake) tell(r wire.Request) {
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
			conn.Write(line)
			conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			bufio.NewReader(conn).ReadString('\n')
			conn.Close()
		}()
	}
}

func (f *fake) apply(r wire.Request) map[string]any {
	f.mu.Lock()
	defer f.mu.Unlock()
	old, found := f.data[r.Key]
	switch r.Op {
	case "get":
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
		role := "follower"
		if f.id == f.leader {
			role = "leader"
		}
		return map[string]any{"status": map[string]any{
			"node": f.id, "role": role, "term": 1234, "leader": f.leader, "last_index": 1234567,
			"commit_index": 1234567, "applied_index": 1234567, "keys": len(f.data), "clients": 100,
		}}
	}
	return map[string]any{"error": wire.Error{Code: "unknown_op", Message: r.Op}}
}

func (f *fake) set(key, value string) {
	f.data[key] = value
	if f.file != "" {
		b, _ := json.Marshal(f.data)
		if err := os.WriteFile(f.file, b, 0o644); err != nil {
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
