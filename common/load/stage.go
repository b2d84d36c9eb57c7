package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"raftworkbook/common/lab"
	"raftworkbook/common/wire"
)

// firstCluster is the first stage of several nodes.
const firstCluster = 2

// A leader is looked for again every leaderPause until startTimeout; a node has askTimeout to answer.
const (
	leaderPause = 20 * time.Millisecond
	askTimeout  = time.Second
)

// buildStage builds stage n into dir. The contender's servers are whole clusters, and its address is
// that of the leader.
func buildStage(ctx context.Context, n int, dir string) (contender, error) {
	found, err := filepath.Glob(fmt.Sprintf("stage%d-*", n))
	if err != nil || len(found) != 1 {
		return contender{}, fmt.Errorf("there is one stage%d-* in the workbook's directory, not %d here", n, len(found))
	}
	bin := filepath.Join(dir, "stage")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", bin, "./"+found[0]).CombinedOutput(); err != nil {
		return contender{}, fmt.Errorf("go build ./%s: %w\n%s", found[0], err, out)
	}
	start := func(ctx context.Context) (*server, error) { return startStage(ctx, n, bin) }
	return contender{name: fmt.Sprintf("stage %d", n), start: start}, nil
}

// nodes is how many nodes of a stage are measured: as many as its chapter is about, and from the first stage that
// flushes on 3, the smallest cluster that outlives a node.
func nodes(stage int) int {
	switch {
	case stage < firstCluster:
		return 1
	case stage < firstDurableStage:
		return 5
	default:
		return 3
	}
}

// startStage starts a cluster that keeps its data, if the stage keeps any, beside the binary until it is stopped.
func startStage(ctx context.Context, stage int, bin string) (*server, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	data := ""
	if stage >= firstDurableStage {
		data = filepath.Join(filepath.Dir(bin), "data")
	}
	l, err := lab.Start(ctx, lab.Options{Stage: stage, Bin: bin, Nodes: nodes(stage), Dir: data, Direct: true})
	if err != nil {
		return nil, err
	}
	stop := func() error { return errors.Join(l.Close(), os.RemoveAll(data)) }
	var addrs []string
	for _, n := range l.Nodes() {
		addrs = append(addrs, n.Client)
	}
	leader, err := findLeader(ctx, addrs)
	if err != nil {
		return nil, errors.Join(err, stop())
	}
	return &server{addr: leader, stop: stop}, nil
}

// findLeader returns the address of the node that takes a put. It asks one after the other, and first
// whoever the last one named, until one takes it or ctx ends.
func findLeader(ctx context.Context, addrs []string) (string, error) {
	var last error
	for {
		for _, addr := range addrs {
			err := tryPut(ctx, addr)
			if refused := (*wire.Error)(nil); errors.As(err, &refused) && refused.Leader != "" {
				addr = refused.Leader
				err = tryPut(ctx, addr)
			}
			if err == nil {
				return addr, nil
			}
			last = err
		}
		select {
		case <-time.After(leaderPause):
		case <-ctx.Done():
			return "", fmt.Errorf("no node takes a put: %w", last)
		}
	}
}

// tryPut writes a key that no load uses.
func tryPut(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	conn, err := wire.Dial(ctx, addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Do(ctx, wire.Request{Op: "put", Key: "load", Value: new("")})
	return err
}
