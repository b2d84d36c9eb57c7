package netfault

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// A link is a direction between two nodes: the one in which bytes flow.
type link struct{ from, to string }

func (l link) reverse() link { return link{l.to, l.from} }

// faults is what is wrong with a link. Faults add up; the zero value is a link in order.
type faults struct {
	cut, stall, reorder bool
	delay               time.Duration
}

// shut reports that nothing gets through, so that no connection can be made.
func (f faults) shut() bool { return f.cut || f.stall }

// Cut loses, without a word to either end, all lines that are on their way from one node to
// the other and all that follow. Of a line whose beginning has passed already, the rest does too.
func (f *Forwarder) Cut(from, to string) {
	f.change(link{from, to}, func(x *faults) { x.cut = true })
}

// Delay makes each line arrive d later than it would; 0 takes that back. Lines follow one
// another as closely as they were sent, as far as 4 MiB a connection holds them.
func (f *Forwarder) Delay(from, to string, d time.Duration) {
	f.change(link{from, to}, func(x *faults) { x.delay = max(d, 0) })
}

// Stall holds everything back until healed, and loses nothing: when a connection holds 4 MiB,
// its sender has to wait.
func (f *Forwarder) Stall(from, to string) {
	f.change(link{from, to}, func(x *faults) { x.stall = true })
}

// Reorder lets each line change places at random with those that arrive within 20 ms of it, at
// most 7 of them. It fails in raw mode, where there are no lines.
func (f *Forwarder) Reorder(from, to string) error {
	if f.options.Raw {
		return errors.New("netfault: raw links have no lines to reorder")
	}
	f.change(link{from, to}, func(x *faults) { x.reorder = true })
	return nil
}

// Heal takes all faults from a link. What it has held back leaves at once, in order.
func (f *Forwarder) Heal(from, to string) {
	f.change(link{from, to}, func(x *faults) { *x = faults{} })
}

// HealAll takes all faults from all links.
func (f *Forwarder) HealAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for l := range f.faults {
		f.apply(l, faults{})
	}
}

// Faults returns what is set, one fault a line and sorted, as "n1>n2 cut" or
// "n1>n2 delay 200ms".
func (f *Forwarder) Faults() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []string
	for l, x := range f.faults {
		add := func(set bool, what string) {
			if set {
				list = append(list, fmt.Sprintf("%s>%s %s", l.from, l.to, what))
			}
		}
		add(x.cut, "cut")
		add(x.delay > 0, fmt.Sprintf("delay %v", x.delay))
		add(x.reorder, "reorder")
		add(x.stall, "stall")
	}
	slices.Sort(list)
	return list
}

func (f *Forwarder) change(l link, edit func(*faults)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	x := f.faults[l]
	edit(&x)
	f.apply(l, x)
}

// apply sets a link's faults, also for the connections that exist and for those that wait to
// be made. The caller holds mu.
func (f *Forwarder) apply(l link, x faults) {
	if x == (faults{}) {
		delete(f.faults, l)
	} else {
		f.faults[l] = x
	}
	for s := range f.sessions {
		s.set(l, x)
	}
	close(f.changed)
	f.changed = make(chan struct{})
}
