package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
)

// serve runs handle, in a goroutine of its own, for each connection to a free loopback port. The first
// line it writes to out is its address. When ctx ends it closes every connection and returns nil once
// all handlers have returned; it returns earlier, with the error, if it can accept no more.
func serve(ctx context.Context, out io.Writer, handle func(net.Conn)) error {
	ctx, cancel := context.WithCancel(ctx)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		cancel()
		return err
	}
	var handlers sync.WaitGroup
	defer handlers.Wait()
	defer cancel()
	defer context.AfterFunc(ctx, func() { ln.Close() })()

	if _, err := fmt.Fprintln(out, ln.Addr()); err != nil {
		return errors.Join(err, ln.Close())
	}
	for {
		conn, err := ln.Accept()
		if ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return nil
		}
		if err != nil {
			return errors.Join(err, ln.Close())
		}
		handlers.Go(func() {
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			defer conn.Close()
			handle(conn)
		})
	}
}

// whileRead returns a context that ends with ctx, or when r does. A limit's standard input is a pipe
// that its parent holds: a parent that is killed leaves no child behind.
func whileRead(ctx context.Context, r io.Reader) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		io.Copy(io.Discard, r)
	}()
	return ctx
}
