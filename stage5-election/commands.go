package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"raftworkbook/stage5-election/api"
	"raftworkbook/stage5-election/client"
)

// takes says what arguments each command has.
var takes = map[string]string{
	api.Get: "KEY", api.Put: "KEY VALUE", api.Append: "KEY VALUE", api.CAS: "KEY OLD NEW, or KEY NEW -absent",
	api.Delete: "KEY", api.List: "[PREFIX]", api.Status: "no arguments",
	api.Lead: "no arguments", api.Log: "no arguments", api.Trace: "on or off",
}

// labServers are those that the lab starts, unless their ports are taken.
const labServers = "127.0.0.1:7001,127.0.0.1:7002,127.0.0.1:7003,127.0.0.1:7004,127.0.0.1:7005"

// ask sends the request that a command line describes, and prints the answer.
func ask(op string, args []string) int {
	flags := flag.NewFlagSet(op, flag.ContinueOnError)
	servers := flags.String("servers", cmp.Or(os.Getenv("RAFT_SERVERS"), labServers),
		"the `addresses` of the servers: A,B,C; status, lead, log and trace ask the first only; RAFT_SERVERS sets the default")
	timeout := flags.Duration("timeout", 5*time.Second, "the `time` that it may take")
	asJSON := flags.Bool("json", false, "print the answer as the server writes it")
	r := api.Request{Op: op}
	absent := false
	maxStaleness := time.Duration(0)
	if op == api.Get || op == api.List {
		flags.DurationVar(&maxStaleness, "max-staleness", 0, "the `time` by which the answer may be outdated; 0 means not at all")
	}
	switch op {
	case api.CAS:
		flags.BoolVar(&absent, "absent", false, "expect that there is no value")
	case api.List:
		flags.StringVar(&r.Delimiter, "delimiter", "", "list one level: up to this `text` after the prefix")
		flags.StringVar(&r.After, "after", "", "go on after this `key`")
		flags.Uint64Var(&r.Limit, "limit", 0, "at most this `many`; 0 means 1000")
	case api.Log:
		flags.Uint64Var(&r.Limit, "limit", 0, "the last `entries`; 0 means 20")
	}
	flags.Usage = func() {
		fmt.Fprintf(flags.Output(), "%s takes %s, and flags before or after:\n", op, takes[op])
		flags.PrintDefaults()
	}
	args, err := parse(flags, args)
	if err != nil {
		return status(err)
	}
	if !fill(&r, args, absent) {
		return misused("%s takes %s", op, takes[op])
	}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *timeout)
	defer cancel()
	c := client.New(strings.Split(*servers, ",")...)
	c.MaxStaleness = maxStaleness
	defer c.Close()
	resp, err := c.Do(ctx, r)
	switch {
	case err != nil: // below
	case *asJSON:
		encoder := json.NewEncoder(os.Stdout)
		encoder.SetEscapeHTML(false)
		err = encoder.Encode(resp)
	default:
		_, err = fmt.Println(words(op, resp))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return failed
	}
	return done
}

// parse takes flags before, between and after the arguments. After "--" nothing is a flag.
func parse(flags *flag.FlagSet, args []string) (rest []string, err error) {
	for {
		if err := flags.Parse(args); err != nil {
			return nil, err
		}
		left := flags.Args()
		n := len(args) - len(left) // as many were flags
		if len(left) == 0 || n > 0 && args[n-1] == "--" {
			return append(rest, left...), nil
		}
		rest, args = append(rest, left[0]), left[1:]
	}
}

// fill puts the arguments of a command into its request, if they are as many as it takes.
func fill(r *api.Request, args []string, absent bool) bool {
	switch n := len(args); {
	case (r.Op == api.Status || r.Op == api.Lead || r.Op == api.Log) && n == 0:
	case r.Op == api.Trace && n == 1:
		r.Value = &args[0]
	case r.Op == api.List && n <= 1:
		r.Prefix = strings.Join(args, "")
	case (r.Op == api.Get || r.Op == api.Delete) && n == 1:
		r.Key = args[0]
	case (r.Op == api.Put || r.Op == api.Append || r.Op == api.CAS && absent) && n == 2:
		r.Key, r.Value = args[0], &args[1]
	case r.Op == api.CAS && !absent && n == 3:
		r.Key, r.Expect, r.Value = args[0], &args[1], &args[2]
	default:
		return false
	}
	return true
}

// words is an answer for a person to read.
func words(op string, resp api.Response) string {
	switch op {
	case api.Get:
		return orAbsent(resp.Value)
	case api.CAS:
		if *resp.Swapped {
			return "swapped"
		}
		return "not swapped: " + orAbsent(resp.Value)
	case api.Delete:
		if !*resp.Found {
			return "absent"
		}
	case api.Append:
		return fmt.Sprint(*resp.Length)
	case api.List:
		names := append(resp.Keys, resp.Prefixes...)
		if resp.More {
			names = append(names, "... and more: -after "+slices.Max(names)+" goes on")
		}
		return strings.Join(names, "\n")
	case api.Log:
		return strings.Join(resp.Log, "\n")
	case api.Status, api.Lead:
		b, _ := json.MarshalIndent(resp.Status, "", "  ")
		return string(b)
	}
	return "ok"
}

func orAbsent(value *string) string {
	if value == nil {
		return "absent"
	}
	return *value
}
