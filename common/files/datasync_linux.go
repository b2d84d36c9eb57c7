package files

import (
	"io/fs"
	"os"
	"syscall"
)

// datasync leaves out the time of the last write. A flush that need not write it is one write to the disk, not three.
func datasync(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		switch err {
		case nil:
			return nil
		case syscall.EINTR: // it was not tried
		default:
			return &fs.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}
