//go:build !linux

package files

import "os"

// datasync also has the drive write down what it holds in its own memory: on macOS, Sync is F_FULLFSYNC.
func datasync(f *os.File) error { return f.Sync() }
