package netfault

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"time"
)

const (
	// maxLine is the longest line that passes, in bytes without its newline.
	maxLine = 2 << 20
	// maxQueue is when a flow stops reading, in bytes as cost counts them. Beyond it goes at
	// most one more chunk; it is more than a line, so that there is always one to send.
	maxQueue = 2 * maxLine
	// chunkSize is how much is read at once, and how far small chunks are joined.
	chunkSize = 32 << 10
	// reorderLines is how many lines take part in a reordering: the longest a queue of
	// lines gets before one of them leaves.
	reorderLines = 8
	// reorderWait is how long a line waits for others to change places with.
	reorderWait = 20 * time.Millisecond
)

var errLineTooLong = errors.New("netfault: line longer than 2 MiB")

// A queue decides what becomes of the bytes of one direction of one connection: what
// arrives goes in, what may leave comes out. It has no clock and waits for nothing.
//
// Without a fault it takes chunks as they come, and they may end within a line. The rule that
// keeps lines whole is that a line's fate is decided as its first byte arrives, and again, as
// long as none of it has left, when a cut begins.
type queue struct {
	// raw: the bytes are not lines.
	raw    bool
	random *rand.Rand
	faults faults

	segments []segment
	// cost is the sum of the segments' costs.
	cost int
	// length is how much of the line that is arriving is here, in bytes; 0 between lines.
	length int
	// lost: the line that is arriving is lost, to its end.
	lost bool
	// torn: the beginning of a line has left, and its end has not.
	torn bool
	// gap: a raw stream has lost bytes.
	gap bool
}

// A segment is what leaves the queue at once.
type segment struct {
	data    []byte
	arrived time.Time
	// end, if set, stands here in place of data.
	end ending
}

// An ending is how a direction ends.
type ending int

const (
	// finished: the sender has said all, and may still listen.
	finished ending = iota + 1
	// broken: the sender is gone.
	broken
)

// cost is what a segment counts for in maxQueue: its bytes, and itself.
func (s segment) cost() int { return len(s.data) + 64 }

// whole reports that a line ends where the segment does.
func (s segment) whole() bool { return bytes.HasSuffix(s.data, newline) }

var newline = []byte{'\n'}

// arrive takes in p, at most chunkSize bytes, and does not keep it. It fails with
// errLineTooLong, after which the queue is of no use.
func (q *queue) arrive(p []byte, now time.Time) error {
	for len(p) > 0 {
		piece := q.piece(p)
		p = p[len(piece):]
		if q.length == 0 {
			q.lost = q.faults.cut
		}
		if q.lost {
			q.gap = q.raw
		} else {
			q.push(piece, now)
		}
		if q.raw {
			continue
		}
		if q.length+len(bytes.TrimSuffix(piece, newline)) > maxLine {
			return errLineTooLong
		}
		if i := bytes.LastIndexByte(piece, '\n'); i >= 0 {
			q.length = len(piece) - 1 - i
		} else {
			q.length += len(piece)
		}
	}
	return nil
}

// piece returns how much of p has one fate: all of it, or what ends a line.
func (q *queue) piece(p []byte) []byte {
	if q.raw || q.length == 0 && !q.faults.reorder {
		return p
	}
	if i := bytes.IndexByte(p, '\n'); i >= 0 {
		return p[:i+1]
	}
	return p
}

// push appends a piece, to the last segment where that makes no difference or, for the sake
// of reordering, makes a line whole.
func (q *queue) push(piece []byte, now time.Time) {
	if n := len(q.segments); n > 0 && q.segments[n-1].end == 0 {
		last := &q.segments[n-1]
		small := q.faults == (faults{}) && len(last.data)+len(piece) <= chunkSize
		if small || q.faults.reorder && !last.whole() {
			last.data = append(last.data, piece...)
			last.arrived = now
			q.cost += len(piece)
			return
		}
	}
	q.append(segment{data: bytes.Clone(piece), arrived: now})
}

func (q *queue) append(s segment) {
	q.segments = append(q.segments, s)
	q.cost += s.cost()
}

// finish says how the direction ends, after all that has arrived.
func (q *queue) finish(e ending, now time.Time) {
	q.append(segment{arrived: now, end: e})
}

// set changes the faults. All that is queued is subject to the new ones.
func (q *queue) set(f faults, now time.Time) {
	if f.cut && !q.faults.cut {
		q.lose()
	}
	if q.gap && !f.cut {
		q.gap = false
		q.finish(broken, now)
	}
	q.faults = f
}

// lose drops what is queued, but for the rest of a line whose beginning has left, and the
// end of the connection, which waits.
func (q *queue) lose() {
	queued := q.segments
	q.segments, q.cost = nil, 0
	owed, dropped := q.torn, false
	for _, s := range queued {
		if s.end == 0 {
			keep := 0
			if owed {
				keep = len(s.data)
				if i := bytes.IndexByte(s.data, '\n'); i >= 0 {
					keep, owed = i+1, false
				}
			}
			dropped = dropped || keep < len(s.data)
			s.data = s.data[:keep]
			if keep == 0 {
				continue
			}
		}
		q.append(s)
	}
	if dropped {
		q.gap = q.raw
		q.lost = q.length > 0
	}
}

// take removes and returns the segment that leaves next. With ok false nothing may leave
// now: wait is after what time to ask again, or 0 if only an arrival or a change of faults
// can help.
func (q *queue) take(now time.Time) (s segment, wait time.Duration, ok bool) {
	if len(q.segments) == 0 || q.faults.stall {
		return segment{}, 0, false
	}
	first := q.segments[0]
	if q.faults.cut && first.end != 0 {
		return segment{}, 0, false
	}
	due, next := q.due(first), 0
	if q.faults.reorder && !q.torn && first.whole() {
		n := q.lines(now)
		if n < reorderLines {
			due = due.Add(reorderWait)
		}
		next = q.random.IntN(max(n, 1))
	}
	if due.After(now) {
		return segment{}, due.Sub(now), false
	}
	s = q.segments[next]
	q.segments[next] = first
	q.segments[0] = segment{} // its memory is free
	q.segments = q.segments[1:]
	q.cost -= s.cost()
	if s.end == 0 && !q.raw {
		q.torn = !s.whole()
	}
	return s, 0, true
}

// lines counts the segments that may change places, from the first on and at most
// reorderLines: all are whole lines, and due but for the wait for one another.
func (q *queue) lines(now time.Time) int {
	n := 0
	for n < min(len(q.segments), reorderLines) {
		s := q.segments[n]
		if !s.whole() || q.due(s).After(now) {
			break
		}
		n++
	}
	return n
}

func (q *queue) due(s segment) time.Time { return s.arrived.Add(q.faults.delay) }
