// Package crash is a disk in memory that loses what a real one may lose. kill -9 cannot show that a flush is missing,
// since the system keeps what a process has written. Here the power may fail as well, in the midst of any operation.
//
//	d := crash.New(seed)
//	d.Fault = crash.Nth(7, crash.ErrPowerFailure)
//	... a program works on d until that fails ...
//	d.Restart(crash.Some)
//	... it starts again: what does it find?
package crash

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"raftworkbook/common/files"
)

// An Op is what a program asks of a disk, where that can fail.
type Op string

const (
	Mkdir    Op = "mkdir"
	Lock     Op = "lock"
	Create   Op = "create"
	Open     Op = "open"
	Read     Op = "read"
	Write    Op = "write"
	Truncate Op = "truncate"
	Sync     Op = "sync"
	Rename   Op = "rename"
	Remove   Op = "remove"
	SyncDir  Op = "syncdir"
)

var (
	// ErrPowerFailure is the error of the operation in whose midst the power fails, and of all that follow.
	ErrPowerFailure = errors.New("power failure")
	// ErrLie is no error: a Sync that is to fail with it says that it has flushed, and has not.
	ErrLie = errors.New("lie")
)

// changes are the operations after which something may be lost.
var changes = []Op{Mkdir, Create, Write, Truncate, Sync, Rename, Remove, SyncDir}

// Nth returns a Fault: the nth of the given operations fails with err; of all that change something if none is given.
func Nth(n int, err error, ops ...Op) func(Op, string) error {
	if len(ops) == 0 {
		ops = changes
	}
	return func(op Op, _ string) error {
		if slices.Contains(ops, op) {
			n--
			if n == 0 {
				return err
			}
		}
		return nil
	}
}

// A Keep says what is left, after a restart, of what was not flushed.
type Keep int

const (
	// Nothing is left: the power failed.
	Nothing Keep = iota
	// Some is left: the power failed. Of each file the seed picks the size and each sector, from what they have been
	// since they were flushed; of each directory it picks changes.
	Some
	// All is left: the power failed just after the last of it had reached the disk.
	All
	// Memory is left: only the processes ended. All can be read, and the next power failure may take it.
	Memory
)

// A Disk is a files.System. The directories "." and "/" are one, and always there.
type Disk struct {
	// Fault, if it is set, is asked before each operation what that is to fail with. Of a write that fails some may have
	// been done. What a Sync that fails was to flush can be read, but is not on the disk, and a second Sync succeeds
	// without bringing it there, as on Linux: only what is written again is flushed.
	Fault func(op Op, name string) error

	mu     sync.Mutex
	random *rand.Rand
	root   *dir
	dead   bool            // the power has failed
	life   int             // counts restarts; what was open before one is closed
	locked map[string]bool // by name
}

// New returns an empty disk.
func New(seed uint64) *Disk {
	return &Disk{random: rand.New(rand.NewPCG(seed, 0)), root: newDir(), locked: map[string]bool{}}
}

// Restart ends all processes, and a power failure if there was one: files are closed and locks free, there is no Fault,
// and of what was not flushed is left what keep says.
func (d *Disk) Restart(keep Keep) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Fault, d.dead = nil, false
	d.life++
	clear(d.locked)
	if keep != Memory {
		d.root.restart(keep, d.random)
	}
}

// do carries out an operation, on an open file if h is not nil, unless it is to fail; then comes failed, if there is
// that. In the midst of a power failure it is carried out too: nobody knows how far it came.
func (d *Disk) do(op Op, name string, h *handle, work func() error, failed func()) error {
	fault, life := d.begin(h)
	var err error
	if fault != nil {
		err = fault(op, name) // it may take its time
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.dead:
		err = ErrPowerFailure
	case d.life != life:
		err = fs.ErrClosed
	case err == nil:
		err = work()
	case errors.Is(err, ErrPowerFailure):
		d.dead = true
		work()
	case failed != nil:
		failed()
	}
	if err == nil || errors.Is(err, ErrLie) {
		return nil
	}
	return &fs.PathError{Op: string(op), Path: name, Err: err}
}

// begin returns whom to ask whether an operation fails, and in which life it takes place.
func (d *Disk) begin(h *handle) (fault func(Op, string) error, life int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	life = d.life
	if h != nil {
		life = h.life
	}
	if d.dead || d.life != life {
		return nil, life
	}
	return d.Fault, life
}

// find returns the directory that name lies in, and the last part of name.
func (d *Disk) find(name string) (in *dir, base string, err error) {
	in, err = d.findDir(filepath.Dir(name))
	return in, filepath.Base(name), err
}

func (d *Disk) findDir(name string) (*dir, error) {
	at := d.root
	for part := range strings.SplitSeq(filepath.Clean(name), string(filepath.Separator)) {
		if part == "" || part == "." {
			continue
		}
		next, ok := at.now[part].(*dir)
		if !ok {
			return nil, fs.ErrNotExist
		}
		at = next
	}
	return at, nil
}

// Mkdir implements files.System, as all that follow.
func (d *Disk) Mkdir(name string) error {
	return d.do(Mkdir, name, nil, func() error {
		in, base, err := d.find(name)
		if err == nil && in.now[base] == nil {
			in.change(map[string]entry{base: newDir()})
		}
		return err
	}, nil)
}

func (d *Disk) Lock(name string) (io.Closer, error) {
	l := &lock{disk: d, name: name}
	err := d.do(Lock, name, nil, func() error {
		if d.locked[name] {
			return errors.New("it is held")
		}
		d.locked[name] = true
		l.life = d.life
		return nil
	}, nil)
	if err != nil {
		return nil, err
	}
	return l, nil
}

type lock struct {
	disk *Disk
	name string
	life int
}

func (l *lock) Close() error {
	l.disk.mu.Lock()
	defer l.disk.mu.Unlock()
	if l.life == l.disk.life {
		delete(l.disk.locked, l.name)
	}
	return nil
}

func (d *Disk) Create(name string) (files.File, error) {
	h := &handle{disk: d, name: name}
	err := d.do(Create, name, nil, func() error {
		in, base, err := d.find(name)
		if err != nil {
			return err
		}
		h.life = d.life
		if f, ok := in.now[base].(*file); ok {
			h.file = f
			f.truncate(0)
			return nil
		}
		h.file = &file{}
		in.change(map[string]entry{base: h.file})
		return nil
	}, nil)
	if err != nil {
		return nil, err
	}
	return h, nil
}

func (d *Disk) Open(name string) (files.File, error) {
	h := &handle{disk: d, name: name}
	err := d.do(Open, name, nil, func() error {
		in, base, err := d.find(name)
		if err != nil {
			return err
		}
		f, ok := in.now[base].(*file)
		if !ok {
			return fs.ErrNotExist
		}
		h.file, h.life = f, d.life
		return nil
	}, nil)
	if err != nil {
		return nil, err
	}
	return h, nil
}

func (d *Disk) Rename(from, to string) error {
	return d.do(Rename, from, nil, func() error {
		in, base, err := d.find(from)
		if err != nil {
			return err
		}
		if in.now[base] == nil || filepath.Dir(from) != filepath.Dir(to) {
			return fs.ErrNotExist
		}
		in.change(map[string]entry{base: nil, filepath.Base(to): in.now[base]})
		return nil
	}, nil)
}

func (d *Disk) Remove(name string) error {
	return d.do(Remove, name, nil, func() error {
		in, base, err := d.find(name)
		if err == nil && in.now[base] == nil {
			err = fs.ErrNotExist
		}
		if err == nil {
			in.change(map[string]entry{base: nil})
		}
		return err
	}, nil)
}

func (d *Disk) SyncDir(name string) error {
	return d.do(SyncDir, name, nil, func() error {
		at, err := d.findDir(name)
		if err == nil && !d.dead {
			at.sync()
		}
		return err
	}, nil)
}

// A handle is an open file.
type handle struct {
	disk *Disk
	name string
	file *file
	life int // the one in which it was opened; -1 once it is closed
}

func (h *handle) do(op Op, work, failed func()) error {
	return h.disk.do(op, h.name, h, func() error { work(); return nil }, failed)
}

func (h *handle) ReadAt(p []byte, at int64) (n int, err error) {
	err = h.do(Read, func() { n = h.file.now.read(p, int(at)) }, nil)
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}

func (h *handle) WriteAt(p []byte, at int64) (n int, err error) {
	err = h.do(Write, func() {
		h.file.write(p, int(at))
		n = len(p)
	}, func() {
		n = h.disk.random.IntN(len(p) + 1)
		h.file.write(p[:n], int(at))
	})
	return n, err
}

func (h *handle) Truncate(size int64) error {
	return h.do(Truncate, func() { h.file.truncate(int(size)) }, nil)
}

func (h *handle) Sync() error {
	return h.do(Sync, func() {
		if !h.disk.dead {
			h.file.sync()
		}
	}, h.file.clean)
}

func (h *handle) Close() error {
	h.disk.mu.Lock()
	defer h.disk.mu.Unlock()
	if h.life != h.disk.life {
		return &fs.PathError{Op: "close", Path: h.name, Err: fs.ErrClosed}
	}
	h.life = -1
	return nil
}
