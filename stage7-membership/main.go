// Stage 7: servers that come and go.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"raftworkbook/common/files"
	"raftworkbook/common/lab"
	"raftworkbook/common/netfault"
	"raftworkbook/common/trace"
	"raftworkbook/stage7-membership/api"
	"raftworkbook/stage7-membership/raft"
	"raftworkbook/stage7-membership/server"
)

// stage is the number of this stage.
const stage = 7

// nodes is how many the lab starts.
const nodes = 5

const usage = `usage: stage7-membership [command]

  lab     start a cluster and a prompt to talk to it (the default)
  node    be one of its servers
  get put cas append delete list status
          ask the server
  lead log trace snapshot
          order it to campaign, show what it holds, let it say what it thinks,
          have it take a snapshot and cut its log
  members add remove replace transfer
          who is in the cluster, and who is to be; who is to lead

"COMMAND -h" lists the flags of a command.
`

// Exit statuses.
const (
	done      = 0
	failed    = 1
	wrongUsed = 2
)

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	if len(args) == 0 {
		args = []string{"lab"}
	}
	switch name, args := args[0], args[1:]; name {
	case "lab":
		return lab.Command(stage, nodes, args)
	case "node":
		return node(args)
	case "help", "-h", "-help", "--help":
		fmt.Print(usage)
		return done
	case api.Get, api.Put, api.CAS, api.Append, api.Delete, api.List, api.Status,
		api.Lead, api.Log, api.Trace, api.Snapshot,
		api.Members, "add", "remove", "replace", api.Transfer:
		return ask(name, args)
	default:
		fmt.Fprintf(os.Stderr, "there is no command %q\n%s", name, usage)
		return wrongUsed
	}
}

// node serves until it is told to end, by a signal or the end of its standard input.
func node(args []string) int {
	flags := flag.NewFlagSet("node", flag.ContinueOnError)
	id := flags.String("id", "n1", "the `name` of this node")
	listen := flags.String("listen", "127.0.0.1:7001", "the `address` for clients")
	peer := flags.String("peer", "127.0.0.1:7101", "the `address` for other nodes")
	bootstrap := flags.Bool("bootstrap", false, "begin a new cluster, of all -cluster, each with an empty directory")
	cluster := flags.String("cluster", "n1=127.0.0.1:7101/127.0.0.1:7001", "its first `members`: n1=PEER/CLIENT,n2=PEER/CLIENT,...")
	join := flags.String("join", "", "take part in the cluster of this `name`, which its nodes tell with status, with an empty directory")
	data := flags.String("data", "", "the `directory` for what it must not forget")
	via := flags.String("via", "", "connect to other nodes through the forwarder at this `address`")
	heartbeat := flags.Duration("heartbeat", 50*time.Millisecond, "how often a leader says that it is there: a `time`")
	election := flags.Duration("election", 300*time.Millisecond, "how long to wait for that: a random `time` from this to twice this")
	snapshotBytes := flags.Int64("snapshot-bytes", 4<<20, "take a snapshot when the log has grown by this many `bytes`, or by as many as the last one has")
	secret := credentials(flags)
	traces := flags.Bool("trace", false, "say on standard error what the node thinks")
	asJSON := flags.Bool("json", false, "write the trace as JSON, one object a line")
	leash := flags.Bool("leash", false, "end when standard input does")
	if err := flags.Parse(args); err != nil {
		return status(err)
	}
	if flags.NArg() > 0 {
		return misused("node takes flags only, not %q", flags.Arg(0))
	}
	var members []raft.Member
	if *bootstrap {
		var err error
		if members, err = server.ParseCluster(*cluster); err != nil {
			return misused("-cluster: %v", err)
		}
		if !slices.ContainsFunc(members, func(m raft.Member) bool { return m.ID == *id }) {
			return misused("-id %s is not in the cluster: %s", *id, *cluster)
		}
		if *join != "" {
			return misused("-bootstrap begins a cluster, -join takes part in another: only one of them")
		}
	}
	creds, err := secret.load()
	if err != nil {
		return misused("%v", err)
	}
	if *snapshotBytes < 0 {
		return misused("-snapshot-bytes must not be negative")
	}
	if *data == "" {
		return misused("-data is missing: a directory that %s keeps its log in", *id)
	}

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s cannot listen there, and -listen chooses another address: %v\n", *id, err)
		return failed
	}
	peers, err := net.Listen("tcp", *peer)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s cannot listen there, and -peer chooses another address: %v\n", *id, err)
		return failed
	}
	address := peers.Addr().String()
	if creds != nil {
		listener, peers = creds.Listen(listener, false), creds.Listen(peers, true)
	} else if beyond(listener) || beyond(peers) {
		fmt.Fprintf(os.Stderr, "%s listens to other machines without TLS: whoever reaches it can read and change everything; -tls-cert, -tls-key and -tls-ca end that\n", *id)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if *leash {
		go func() { io.Copy(io.Discard, os.Stdin); stop() }()
	}
	n, err := server.NewNode(server.Config{ID: *id, Peer: address, Bootstrap: members, Join: *join, Data: *data, Files: files.OS{},
		Heartbeat: *heartbeat, Election: *election, SnapshotBytes: *snapshotBytes, Dial: dialer(*via, *id, creds),
		Explain: explainer(*asJSON),
		Log:     log.New(os.Stderr, *id+": ", 0).Printf})
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s does not start: %v\n", *id, err)
		return failed
	}
	defer context.AfterFunc(n.Life(), stop)()
	n.Trace(*traces)
	go n.ServePeers(peers)
	s := server.New(n)
	context.AfterFunc(ctx, func() {
		stop() // a second signal ends the process at once
		// Requests that wait for a majority would keep Shutdown: after a second the node answers them.
		defer time.AfterFunc(time.Second, func() { n.Close() }).Stop()
		s.Shutdown()
	})
	fmt.Printf("%s listening on %s\n", *id, listener.Addr())
	s.Serve(listener)
	s.Shutdown()
	if n.Close() != nil {
		return failed // it has said why
	}
	return done
}

// explainer returns where a node writes what it thinks.
func explainer(asJSON bool) func(trace.Event) {
	return func(e trace.Event) {
		if asJSON {
			os.Stderr.Write(e.Line())
			return
		}
		os.Stderr.WriteString(e.String())
	}
}

// dialer returns how node id connects to others: straight, or through a forwarder.
func dialer(via, id string, creds *api.Credentials) func(ctx context.Context, to, addr string) (net.Conn, error) {
	return func(ctx context.Context, to, addr string) (conn net.Conn, err error) {
		if via == "" {
			conn, err = new(net.Dialer).DialContext(ctx, "tcp", addr)
		} else {
			conn, err = netfault.Dial(ctx, via, id, addr)
		}
		if err != nil || creds == nil {
			return conn, err
		}
		return creds.Connect(ctx, conn, to)
	}
}

// A secret is where the files of credentials are.
type secret struct{ cert, key, ca *string }

func credentials(flags *flag.FlagSet) secret {
	return secret{flags.String("tls-cert", "", "the `file` with its certificate: then all must prove who they are"),
		flags.String("tls-key", "", "the `file` with the key of that"),
		flags.String("tls-ca", "", "the `file` with the authority whose certificates are believed")}
}

// load returns the credentials, nil if there are none.
func (s secret) load() (*api.Credentials, error) {
	switch {
	case *s.cert+*s.key+*s.ca == "":
		return nil, nil
	case *s.cert == "" || *s.key == "" || *s.ca == "":
		return nil, errors.New("-tls-cert, -tls-key and -tls-ca go together")
	}
	return api.LoadCredentials(*s.cert, *s.key, *s.ca)
}

// beyond reports whether other machines can reach a listener.
func beyond(l net.Listener) bool {
	addr, ok := l.Addr().(*net.TCPAddr)
	return ok && !addr.IP.IsLoopback()
}

// status is how to end when flags did not parse.
func status(err error) int {
	if errors.Is(err, flag.ErrHelp) {
		return done
	}
	return wrongUsed
}

func misused(format string, args ...any) int {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	return wrongUsed
}
