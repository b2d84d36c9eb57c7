package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Ports come in blocks of blockSize, one for each lab on the machine: in block k, node i serves clients
// on 7000+200k+i and its peers on 7100+200k+i, and the lab's forwarder listens on 7099+200k. All lie
// below the range from which systems take the ports of outgoing connections (32768 and up on Linux), so
// that no connection takes the port of a node that is dead for the moment.
const (
	firstPort = 7000
	blockSize = 200
	maxNodes  = 98
	blocks    = (32768 - firstPort) / blockSize
)

// portsFile is the file, beside the nodes' directories, that holds the number of the block that their data is of.
const portsFile = "ports"

// A block is a claim on one block of ports: it is held by listening on the block's own port, for the
// lab's whole life.
type block struct {
	number int
	net.Listener
}

// claim takes the first block that nobody holds and whose first n ports of either kind are free.
func claim(n int) (block, error) {
	var last error
	for k := range blocks {
		b, err := take(k, n)
		if err == nil {
			return b, nil
		}
		last = err
	}
	return block{}, fmt.Errorf("no block of free ports from %d on: %w", firstPort, last)
}

// claimFor claims a block for n nodes whose data is in dir. Nodes know each other by their addresses, which are in
// their logs and, before stage 7, in the name of their cluster: so it is the block that the data is of, if dir says
// which. An empty dir says so from now on.
func claimFor(dir string, n int) (block, error) {
	name := filepath.Join(dir, portsFile)
	switch text, err := os.ReadFile(name); {
	case err == nil:
		return claimAgain(dir, strings.TrimSpace(string(text)), n)
	case !errors.Is(err, os.ErrNotExist):
		return block{}, err
	}
	empty := isEmpty(dir)
	b, err := claim(n)
	if err == nil && empty {
		err = os.WriteFile(name, fmt.Appendf(nil, "%d\n", b.number), 0o644)
	}
	return b, err
}

// claimAgain takes the block with this number, and no other.
func claimAgain(dir, number string, n int) (block, error) {
	k, err := strconv.Atoi(number)
	if err != nil || k < 0 || k >= blocks {
		return block{}, fmt.Errorf("%s: %q is no number of a block of ports: 0 to %d are",
			filepath.Join(dir, portsFile), cut(number, maxWord), blocks-1)
	}
	b, err := take(k, n)
	if err != nil {
		first := block{number: k}.port(0)
		return block{}, fmt.Errorf("the data in %s is of a lab on ports %d to %d, and they are not free: "+
			"end the other lab, or choose another directory: %w", dir, first, first+blockSize-1, err)
	}
	return b, nil
}

func take(k, n int) (block, error) {
	b := block{number: k}
	l, err := net.Listen("tcp", b.addr(99))
	if err != nil {
		return block{}, err
	}
	b.Listener = l
	if err := b.free(n); err != nil {
		l.Close()
		return block{}, err
	}
	return b, nil
}

// free says why the first n nodes cannot listen now.
func (b block) free(n int) error {
	for i := 1; i <= n; i++ {
		if err := b.freeFor(i); err != nil {
			return err
		}
	}
	return nil
}

// freeFor says why node i cannot listen now.
func (b block) freeFor(i int) error {
	return errors.Join(bindable(b.port(i)), bindable(b.port(100+i)))
}

func (b block) client(i int) string { return b.addr(i) }
func (b block) peer(i int) string   { return b.addr(100 + i) }

func (b block) addr(offset int) string { return fmt.Sprintf("127.0.0.1:%d", b.port(offset)) }
func (b block) port(offset int) int    { return firstPort + blockSize*b.number + offset }

// bindable says why nothing can listen on a port now. It does not listen itself, to close that at once: a process that
// is being started at this moment has what is open here until it runs its own program. That takes a port that is only
// bound from nobody, but one that is listened on from the node that it is for.
func bindable(port int) error {
	syscall.ForkLock.RLock()
	s, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(s)
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return err
	}
	defer syscall.Close(s)
	if err := syscall.SetsockoptInt(s, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := syscall.Bind(s, &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fmt.Errorf("port %d: %w", port, err)
	}
	return nil
}
