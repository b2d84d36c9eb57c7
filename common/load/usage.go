package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
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

// processor is the name of this machine's processor, on Linux and macOS.
func processor() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		info, _ = exec.Command("sysctl", "-n", "machdep.cpu.brand_string").Output()
		return strings.TrimSpace(string(info))
	}
	for line := range strings.Lines(string(info)) {
		if field, name, _ := strings.Cut(line, ":"); strings.TrimSpace(field) == "model name" {
			return strings.TrimSpace(name)
		}
	}
	return runtime.GOARCH
}

// childrenMemory is what the children of this process hold in memory, in bytes.
func childrenMemory() (int64, error) { return memory("") }

// nodeMemory is what the node of a lab holds.
func nodeMemory(id string) (int64, error) { return memory(" node -id " + id + " ") }

// memory is what the children hold in whose command line there are these words.
func memory(words string) (int64, error) {
	ps := exec.Command("ps", "-A", "-ww", "-o", "pid=,ppid=,rss=,args=")
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
		if parent == os.Getpid() && pid != ps.Process.Pid && strings.Contains(line, words) {
			total += kib << 10
		}
	}
	return total, nil
}
