package lab

import (
	"fmt"
	"syscall"
	"time"
	"unsafe"
)

const (
	// stopTime bounds the time from SIGSTOP until the process stands still, and stopPause is how often
	// to look.
	stopTime  = time.Second
	stopPause = time.Millisecond
)

// pause freezes the process, and returns once it stands still: the signal only asks for that, and its
// threads may answer a request or two before they see it.
func (p *process) pause() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	look := time.NewTicker(stopPause)
	defer look.Stop()
	for began := time.Now(); time.Since(began) < stopTime; <-look.C {
		if stopped(p.cmd.Process.Pid) {
			return nil
		}
	}
	return fmt.Errorf("it has not stopped within %v", stopTime)
}

// resume lets the process run on.
func (p *process) resume() error { return p.cmd.Process.Signal(syscall.SIGCONT) }

// stopped reports whether a child stands still. It leaves the child's status for others to take.
func stopped(pid int) bool {
	const justThis = 1 // P_PID
	var info struct {  // siginfo_t: the signal is its first field in all systems
		signal int32
		_      [124]byte
	}
	_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, justThis, uintptr(pid), uintptr(unsafe.Pointer(&info)),
		syscall.WSTOPPED|syscall.WNOHANG|syscall.WNOWAIT, 0, 0)
	return errno == 0 && info.signal == int32(syscall.SIGCHLD)
}
