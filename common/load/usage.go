package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// processorTime is the user and system time of this process so far, and of all its children that have
// ended and been waited for.
func processorTime() time.Duration {
	var total int64
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if err := syscall.Getrusage(who, &u); err != nil {
			panic(err) // only for a wrong argument
		}
		total += u.Utime.Nano() + u.Stime.Nano()
	}
	return time.Duration(total)
}

// childrenMemory is what the children of this process hold in memory, in bytes.
func childrenMemory() (int64, error) {
	ps := exec.Command("ps", "-A", "-o", "pid=,ppid=,rss=")
	out, err := ps.Output()
	if err != nil {
		return 0, fmt.Errorf("ps: %w", err)
	}
	var total int64
	for line := range strings.Lines(string(out)) {
		var pid, parent int
		var kib int64
		if _, err := fmt.Sscan(line, &pid, &parent, &kib); err != nil {
			return 0, fmt.Errorf("ps: %q: %w", line, err)
		}
		if parent == os.Getpid() && pid != ps.Process.Pid {
			total += kib << 10
		}
	}
	return total, nil
}
