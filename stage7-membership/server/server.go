// Package server is what listens: it takes the requests of clients from their connections to the store
// and the answers back, and what nodes have to say to each other.
package server

import (
	"errors"
	"net"
	"sync"
	"time"

	"raftworkbook/stage7-membership/api"
)

const (
	// maxClients is how many connections are served at once.
	maxClients = 1024
	// maxRefusals is how many more may be open at once to be told that there are too many.
	maxRefusals = 64
	// acceptPause is the longest wait before accepting again after an error.
	acceptPause = time.Second
)

// A Server serves one node's clients.
type Server struct {
	node *Node

	mu       sync.Mutex
	listener net.Listener
	clients  map[*client]struct{}
	closed   bool
	running  sync.WaitGroup
}

// New returns a server for the clients of node.
func New(node *Node) *Server {
	return &Server{node: node, clients: map[*client]struct{}{}}
}

// Serve accepts connections until Shutdown, and then returns nil. It closes the listener.
func (s *Server) Serve(l net.Listener) error {
	if !s.listen(l) {
		return l.Close()
	}
	accept(l, s.start)
	return nil
}

func (s *Server) listen(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener = l
	return !s.closed
}

// accept hands connections to take until the listener is closed.
func accept(l net.Listener, take func(net.Conn)) {
	pause := time.Duration(0)
	for {
		conn, err := l.Accept()
		switch {
		case err == nil:
			pause = 0
			take(conn)
		case errors.Is(err, net.ErrClosed):
			return
		default: // out of file descriptors, say: that passes when clients leave
			pause = min(max(2*pause, 5*time.Millisecond), acceptPause)
			time.Sleep(pause)
		}
	}
}

// start serves conn, or tells it why not.
func (s *Server) start(conn net.Conn) {
	c := newClient(s, conn)
	switch n := s.add(c); {
	case n == 0:
		conn.Close()
	case n <= maxClients:
		go s.run(c, c.serve)
	default:
		go s.run(c, c.turnAway)
	}
}

// add returns how many connections there are with c, or 0 if there is no place for it.
func (s *Server) add(c *client) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.clients) == maxClients+maxRefusals {
		return 0
	}
	s.running.Add(1)
	s.clients[c] = struct{}{}
	return len(s.clients)
}

// run is the life of a connection.
func (s *Server) run(c *client, serve func()) {
	defer s.running.Done()
	refusal := api.Response{Error: api.Errorf(api.BadRequest, "this server speaks TLS alone: -tls-cert, -tls-key and -tls-ca")}
	if _, err := api.Prove(c.conn, helloTimeout, refusal); err != nil {
		s.node.Log("%s is no client: %v", c.conn.RemoteAddr(), err)
	} else {
		serve()
	}
	c.conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c)
}

// Shutdown stops accepting, lets every client have the answers to what was read from it, and returns
// when all connections are closed. No client can make that last longer than writeTimeout and
// lingerTimeout together, after the node has answered what it owes; closing the node makes it do so.
func (s *Server) Shutdown() {
	s.mu.Lock()
	s.closed = true
	if s.listener != nil {
		s.listener.Close()
	}
	for c := range s.clients {
		c.stop()
	}
	s.mu.Unlock()
	s.running.Wait()
}

// take carries out one line, or has it carried out. It fails if the client cannot be answered any more.
func (s *Server) take(line []byte, c *client) error {
	r, err := api.DecodeRequest(line)
	switch {
	case err != nil:
		return c.answer(api.Refuse(r.ID, err))
	case r.Op == api.Status:
		return c.answer(api.Response{ID: r.ID, OK: true, Status: s.status()})
	case r.Op == api.Lead:
		s.node.Lead()
		return c.answer(api.Response{ID: r.ID, OK: true, Status: s.status()})
	case r.Op == api.Snapshot:
		s.node.Snapshot()
		return c.answer(api.Response{ID: r.ID, OK: true, Status: s.status()})
	case r.Op == api.Log:
		log, more := s.node.Entries(r.Limit)
		return c.answer(api.Response{ID: r.ID, OK: true, Log: log, More: more})
	case r.Op == api.Trace:
		s.node.Trace(*r.Value == "on")
		return c.answer(api.Response{ID: r.ID, OK: true})
	case r.Op == api.Members:
		return c.answer(api.Response{ID: r.ID, OK: true, Members: s.node.Members()})
	case r.Writes():
		if err := c.owe(); err != nil {
			return err
		}
		s.node.Write(r, c.reply)
		return nil
	case s.node.Behind(r), r.Op == api.Change, r.Op == api.Transfer:
		if err := c.owe(); err != nil {
			return err
		}
		s.node.Await(r, c.reply)
		return nil
	default:
		return c.answer(s.node.Read(r))
	}
}

func (s *Server) status() *api.NodeStatus {
	status := s.node.Status()
	s.mu.Lock()
	defer s.mu.Unlock()
	status.Clients = len(s.clients)
	return status
}
