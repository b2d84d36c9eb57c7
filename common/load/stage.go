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
	"raftworkbook/common/stages/tree"
	"raftworkbook/common/wire"
)

// firstCluster is the first stage of several nodes.
const firstCluster = 2

// A leader is looked for again every leaderPause until startTimeout; a node has askTimeout to answer.
const (
	leaderPause = 20 * time.Millisecond
	askTimeout  = time.Second
)

// A stage is one to be measured, and how its nodes are started.
type stage struct {
	number int
	name   string
	bin    string
	flags  []string // more for its nodes
	tls    bool     // all prove who they are
}

// findStages finds the stages of the workbook that the working directory is in.
func findStages() ([]tree.Stage, error) {
	root, err := tree.Root(".")
	if err != nil {
		return nil, err
	}
	return tree.Stages(root)
}

// buildStage builds stage n into dir.
func buildStage(ctx context.Context, n int, dir string) (stage, error) {
	stages, err := findStages()
	if err != nil {
		return stage{}, err
	}
	s, err := tree.Find(stages, n)
	if err != nil {
		return stage{}, err
	}
	bin := filepath.Join(dir, s.Name)
	build := exec.CommandContext(ctx, "go", "build", "-o", bin, ".")
	build.Dir = s.Dir
	if out, err := build.CombinedOutput(); err != nil {
		return stage{}, fmt.Errorf("%s does not build: %w\n%s", s.Name, err, out)
	}
	return stage{number: s.Number, name: fmt.Sprintf("stage %d", s.Number), bin: bin}, nil
}

// contender is the stage as one that takes part in the comparison. Its servers are whole clusters, and its address is
// that of the leader.
func (s stage) contender() contender {
	start := func(ctx context.Context) (*server, error) {
		c, err := s.start(ctx)
		if err != nil {
			return nil, err
		}
		return &server{addr: c.leader, connect: c.Dial, stop: c.stop}, nil
	}
	return contender{name: s.name, start: start}
}

// A cluster is a stage that runs.
type cluster struct {
	*lab.Lab
	// data is the directory of what it keeps; empty if the stage keeps nothing.
	data string
	// leader is the address of the node that led when it was started.
	leader string
}

// addrs are the addresses at which nodes serve clients.
func (c *cluster) addrs() []string {
	var addrs []string
	for _, n := range c.Nodes() {
		addrs = append(addrs, n.Client)
	}
	return addrs
}

func (c *cluster) stop() error { return errors.Join(c.Close(), os.RemoveAll(c.data)) }

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

// start starts a cluster that keeps its data, if the stage keeps any, beside the binary until it is stopped.
func (s stage) start(ctx context.Context) (*cluster, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	data := ""
	if s.number >= firstDurableStage {
		data = filepath.Join(filepath.Dir(s.bin), "data")
	}
	l, err := lab.Start(ctx, lab.Options{
		Stage: s.number, Bin: s.bin, Nodes: nodes(s.number), Dir: data, Direct: true, Flags: s.flags, TLS: s.tls,
	})
	if err != nil {
		return nil, err
	}
	c := &cluster{Lab: l, data: data}
	if c.leader, err = findLeader(ctx, c.Dial, c.addrs()); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

// findLeader returns the address of the node that takes a put. It asks one after the other, and first
// whoever the last one named, until one takes it or ctx ends.
func findLeader(ctx context.Context, connect connect, addrs []string) (string, error) {
	var last error
	for {
		for _, addr := range addrs {
			err := tryPut(ctx, connect, addr)
			if refused := (*wire.Error)(nil); errors.As(err, &refused) && refused.Leader != "" {
				addr = refused.Leader
				err = tryPut(ctx, connect, addr)
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
func tryPut(ctx context.Context, connect connect, addr string) error {
	_, err := ask(ctx, connect, addr, wire.Request{Op: "put", Key: "load", Value: new("")})
	return err
}

// ask sends one request over a connection of its own.
func ask(ctx context.Context, connect connect, addr string, r wire.Request) (wire.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	conn, err := connect(ctx, addr)
	if err != nil {
		return wire.Response{}, err
	}
	c := wire.New(conn)
	defer c.Close()
	return c.Do(ctx, r)
}
