// Stage 3: five servers, and one log. A write is done when it is in the log of a majority, on disk.
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
	"raftworkbook/stage3-log-replication/api"
	"raftworkbook/stage3-log-replication/server"
)

// stage is the number of this stage.
const stage = 3

// nodes is how many the lab starts.
const nodes = 5

const usage = `usage: stage3-log-replication [command]

  lab     start a cluster and a prompt to talk to it (the default)
  node    be one of its servers
  get put cas append delete list status
          ask the server
  lead log trace
          order it to lead, show what it holds, let it say what it thinks

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
		api.Lead, api.Log, api.Trace:
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
	cluster := flags.String("cluster", "n1=127.0.0.1:7101/127.0.0.1:7001", "all `members`: n1=PEER/CLIENT,n2=PEER/CLIENT,...")
	data := flags.String("data", "", "the `directory` for what it must not forget")
	via := flags.String("via", "", "connect to other nodes through the forwarder at this `address`")
	traces := flags.Bool("trace", false, "say on standard error what the node thinks")
	asJSON := flags.Bool("json", false, "write the trace as JSON, one object a line")
	leash := flags.Bool("leash", false, "end when standard input does")
	if err := flags.Parse(args); err != nil {
		return status(err)
	}
	if flags.NArg() > 0 {
		return misused("node takes flags only, not %q", flags.Arg(0))
	}
	members, err := server.ParseCluster(*cluster)
	if err != nil {
		return misused("-cluster: %v", err)
	}
	if !slices.ContainsFunc(members, func(m server.Member) bool { return m.ID == *id }) {
		return misused("-id %s is not in the cluster: %s", *id, *cluster)
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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if *leash {
		go func() { io.Copy(io.Discard, os.Stdin); stop() }()
	}
	n, err := server.NewNode(server.Config{ID: *id, Members: members, Data: *data, Files: files.OS{}, Dial: dialer(*via, *id),
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
func dialer(via, id string) func(ctx context.Context, addr string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		if via == "" {
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
		return netfault.Dial(ctx, via, id, addr)
	}
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
