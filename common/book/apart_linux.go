package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"unsafe"
)

// apartEnv is set, to the name of its stage, where a chapter is played apart.
const apartEnv = "BOOK_APART"

// isApart tells whether this process plays one chapter for another, and which. It has a network and processes of
// its own: there all ports are free, and nothing outlives it.
func isApart() (stage string, ok bool) {
	stage, ok = os.LookupEnv(apartEnv)
	if !ok {
		return "", false
	}
	if err := raiseLoopback(); err != nil {
		fmt.Fprintln(os.Stderr, "book: no loopback:", err)
		os.Exit(1)
	}
	os.Unsetenv(apartEnv) // a chapter may start this program
	return stage, true
}

// canBeApart tells whether the system allows that.
var canBeApart = sync.OnceValue(func() bool {
	cmd := apart(exec.Command("true"))
	return cmd.Run() == nil
})

func apart(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWPID,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	return cmd
}

// checkApart is check, in a process that is apart.
func (c chapter) checkApart(ctx context.Context, _ string) (tally, error) {
	runtime.LockOSThread() // the process ends with the thread that started it
	defer runtime.UnlockOSThread()
	self, err := os.Executable()
	if err != nil {
		return tally{}, err
	}
	cmd := apart(exec.CommandContext(ctx, self, os.Args[1:]...))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Env = append(os.Environ(), apartEnv+"="+c.stage)
	cmd.Stderr = os.Stderr
	output, err := cmd.Output()
	if err != nil {
		return tally{}, err
	}
	var t tally
	err = json.Unmarshal(output, &t)
	return t, err
}

// raiseLoopback brings the loopback interface up, which a new network has down.
func raiseLoopback() error {
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(socket)
	request := struct {
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}{flags: syscall.IFF_UP | syscall.IFF_RUNNING}
	copy(request.name[:], "lo")
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(socket), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return errno
	}
	return nil
}
