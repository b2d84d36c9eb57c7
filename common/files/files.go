// Package files is as much of a file system as a node needs to keep a promise. It names what may be lost and what
// ends that, so that tests can take a disk that loses it (package crash) in place of the real one.
package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// A System holds files in directories. What is made, renamed and removed may be lost in a crash, or not, until its
// directory is flushed: each alone, in any order.
type System interface {
	// Mkdir makes a directory in one that is there, unless it is there itself.
	Mkdir(dir string) error
	// Lock takes a file, which it makes, for this process alone, until it is closed or the process ends, however that
	// comes. It does not wait: if another has it, the error says who.
	Lock(name string) (io.Closer, error)
	// Create makes an empty file, in place of one that may be there.
	Create(name string) (File, error)
	// Open opens a file. The error is fs.ErrNotExist if it is not there.
	Open(name string) (File, error)
	// Rename gives a file another name in its directory, in place of one that may have it, all at once.
	Rename(from, to string) error
	Remove(name string) error
	// SyncDir flushes a directory.
	SyncDir(dir string) error
}

// A File can be read and written anywhere. What is written to it may be lost in a crash, or not, until it is flushed:
// each sector and the size alone, in any order.
type File interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
	// Sync flushes: what has been written before is on the disk when it returns. If it fails, nobody knows what is, and
	// another flush that succeeds does not say that it is.
	Sync() error
	Close() error
}

// OS is the file system of this machine. All files are its user's alone.
type OS struct{}

func (OS) Mkdir(dir string) error {
	if err := os.Mkdir(dir, 0o700); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func (OS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := lock(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return f, nil
}

// lock locks a file and writes into it who this is.
func lock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		holder := make([]byte, 20)
		n, _ := f.ReadAt(holder, 0)
		return fmt.Errorf("it is held by process %s", strings.TrimSpace(string(holder[:n])))
	}
	if err != nil {
		return err
	}
	_, err = f.WriteAt(fmt.Appendf(nil, "%-10d\n", os.Getpid()), 0)
	return err
}

func (OS) Create(name string) (File, error) { return open(name, os.O_CREATE|os.O_TRUNC) }

func (OS) Open(name string) (File, error) { return open(name, 0) }

func open(name string, flag int) (File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|flag, 0o600)
	if err != nil {
		return nil, err
	}
	return file{f}, nil
}

func (OS) Rename(from, to string) error { return os.Rename(from, to) }

func (OS) Remove(name string) error { return os.Remove(name) }

func (OS) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// A file flushes its data and its size, and where it can not what it does not need, such as the time of the last write.
type file struct{ *os.File }

func (f file) Sync() error { return datasync(f.File) }
