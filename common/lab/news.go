package lab

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode"
)

const (
	// maxNews is how many news wait for a reader that is slower than the nodes; more are lost.
	maxNews = 1024

	// lastNewsTime bounds the wait for a reader to take what is left in the end.
	lastNewsTime = time.Second
)

// News are the lines that nodes write and that the lab writes of them, on their way to whoever reads them.
// Neither a node nor the end of one ever waits for that reader: a terminal may be halted, a pipe be full.
type news struct {
	written chan struct{} // closed when nothing is written any more

	mu    sync.Mutex
	lines chan string // each is written at once, and may be several; nil once closed
	lost  int         // since the last line that was not
}

// startNews begins to write to out. The caller must call close.
func startNews(out io.Writer) *news {
	lines := make(chan string, maxNews)
	n := &news{lines: lines, written: make(chan struct{})}
	go func() {
		defer close(n.written)
		for line := range lines {
			io.WriteString(out, line+"\n")
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		if n.lost > 0 {
			io.WriteString(out, n.loss()+"\n")
		}
	}()
	return n
}

// say adds lines, with none of anybody else between them, and without what could move a terminal's cursor. It
// does not block.
func (n *news) say(lines ...string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lost > 0 && n.add(n.loss()) {
		n.lost = 0
	}
	if len(lines) > 0 && (n.lost > 0 || !n.add(clean(strings.Join(lines, "\n")))) {
		n.lost += len(lines)
	}
}

func (n *news) loss() string {
	return fmt.Sprintf("(lines lost, since they came faster than they were read: %d)", n.lost)
}

func (n *news) add(line string) bool {
	select {
	case n.lines <- line:
		return true
	default:
		return false
	}
}

// close returns once all lines are written, or after lastNewsTime. What is said later is dropped.
func (n *news) close() {
	n.mu.Lock()
	close(n.lines)
	n.lines = nil
	n.mu.Unlock()
	select {
	case <-n.written:
	case <-time.After(lastNewsTime):
	}
}

// clean leaves nothing in s that could move a terminal's cursor, but for tabs and line ends.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\t' && r != '\n' {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}
