package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"raftworkbook/common/lab"
)

// TestMain lets the test binary be the limits that the tests start, and the nodes.
func TestMain(m *testing.M) {
	if lab.Child() {
		fmt.Fprintln(os.Stderr, runFakeNode(os.Args[2:]))
		os.Exit(1)
	}
	if len(os.Args) > 1 && (os.Args[1] == "echo" || os.Args[1] == "durable") {
		main()
		return
	}
	// A child with the race detector would stay for a second after its end.
	os.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0")
	goleak.VerifyTestMain(m)
}

// listen serves in this process until the test ends, and returns the address.
func listen(t *testing.T, handle func(net.Conn)) string {
	s := startHere(t, handle)
	t.Cleanup(func() { require.NoError(t, s.stop()) })
	return s.addr
}

// startHere serves in this process until it is stopped.
func startHere(t *testing.T, handle func(net.Conn)) *server {
	ctx, cancel := context.WithCancel(context.Background())
	in, out := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- serve(ctx, out, handle) }()
	addr, err := bufio.NewReader(in).ReadString('\n')
	require.NoError(t, err)
	return &server{addr: strings.TrimSpace(addr), connect: overTCP, stop: func() error {
		cancel()
		return <-done
	}}
}

// answering is a handler that sends what answer makes of each line.
func answering(answer func(line string) string) func(net.Conn) {
	return func(conn net.Conn) {
		for in := bufio.NewScanner(conn); in.Scan(); {
			if _, err := io.WriteString(conn, answer(in.Text())+"\n"); err != nil {
				return
			}
		}
	}
}

func TestParse_measures_puts_and_gets_and_flushes_from_stage_3(t *testing.T) {
	o, err := parse(nil, io.Discard)
	require.NoError(t, err)
	require.Equal(t, []string{"put", "get"}, o.ops)
	require.Equal(t, []int{1, 16, 64, 256}, o.conns)
	require.False(t, o.durable)

	o, err = parse(strings.Fields("-stage 3 -op mix -c 8"), io.Discard)
	require.NoError(t, err)
	require.Equal(t, []string{"mix"}, o.ops)
	require.Equal(t, []int{8}, o.conns)
	require.True(t, o.durable)
}

func TestParse_refuses_what_is_out_of_bounds(t *testing.T) {
	for _, args := range []string{
		"-stage -1", "-op delete", "-c 0", "-c 1,,2", "-c 5000", "-c many", "-size -1", "-size 131073", "-keys 0",
		"all -stage 1", "all -c 1", "all -for 0s", "all -rounds 2", "all frob", "-keys 1000001", "-for 0s", "-for 1h", "-rounds 2", "-rounds 100", "-entries -1", "-entries 100000001", "-frob", "frob", "echo now", "durable",
	} {
		_, err := parse(strings.Fields(args), io.Discard)
		require.ErrorIs(t, err, errUsage, args)
		require.NotContains(t, err.Error(), "\n", args)
	}
}

func TestParse_measures_all_stages_in_short_rounds(t *testing.T) {
	o, err := parse(strings.Fields("all -rounds 5"), io.Discard)
	require.NoError(t, err)
	require.Equal(t, options{
		all: true, ops: []string{"put", "get"}, conns: []int{1, 64, 256}, size: 100, keys: 1000, length: time.Second / 2, rounds: 5, entries: 100_000,
	}, o)
}

func TestParse_explains_itself(t *testing.T) {
	var out strings.Builder
	_, err := parse([]string{"-h"}, &out)
	require.True(t, errors.Is(err, flag.ErrHelp))
	for _, name := range []string{"-stage", "-c", "-op", "-size", "-keys", "-for", "-rounds", "-entries", "-durable", "-json"} {
		require.Contains(t, out.String(), "  "+name)
	}
	out.Reset()
	_, err = parse([]string{"all", "-h"}, &out)
	require.ErrorIs(t, err, flag.ErrHelp)
	require.Contains(t, out.String(), "usage: load all [flags]\n  -for ")
}
