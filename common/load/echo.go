package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
)

// runEcho sends every line back until ctx ends.
func runEcho(ctx context.Context, out io.Writer) error {
	return serve(ctx, out, echo)
}

// echo sends each line back until the connection ends. A line longer than the reader's buffer goes back
// in pieces.
func echo(conn net.Conn) {
	in := bufio.NewReader(conn)
	for {
		line, err := in.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
		if _, err := conn.Write(line); err != nil {
			return
		}
	}
}
