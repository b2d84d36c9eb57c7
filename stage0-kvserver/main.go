// Stage 0: one server, one map, one line of JSON for each request.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"

	"raftworkbook/common/lab"
	"raftworkbook/stage0-kvserver/kv"
	"raftworkbook/stage0-kvserver/server"
)

// stage is the number of this stage.
const stage = 0

const usage = `usage: stage0-kvserver [command]

  lab     start a server and a prompt to talk to it (the default)
  node    be the server

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
		return lab.Command(stage, 1, args)
	case "node":
		return node(args)
	case "help", "-h", "-help", "--help":
		fmt.Print(usage)
		return done
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
	leash := flags.Bool("leash", false, "end when standard input does")
	if err := flags.Parse(args); err != nil {
		return status(err)
	}
	if flags.NArg() > 0 {
		return misused("node takes flags only, not %q", flags.Arg(0))
	}

	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s cannot listen there, and -listen chooses another address: %v\n", *id, err)
		return failed
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	if *leash {
		go func() { io.Copy(io.Discard, os.Stdin); stop() }()
	}
	s := server.New(*id, kv.New())
	context.AfterFunc(ctx, func() {
		stop() // a second signal ends the process at once
		s.Shutdown()
	})
	fmt.Printf("%s listening on %s\n", *id, listener.Addr())
	s.Serve(listener)
	s.Shutdown()
	return done
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
