package raft

import (
	"errors"
	"slices"
)

// ErrChanging is returned by Change while another change is under way.
var ErrChanging = errors.New("another change of the members is under way")

// ErrNoVoters is returned by Change if nobody would be left.
var ErrNoVoters = errors.New("the cluster needs a member")

// ErrNoVoter is returned by Transfer to a node that cannot lead.
var ErrNoVoter = errors.New("it is no voter")

// ErrTransfer is returned by Propose and Change while leadership goes to another node.
var ErrTransfer = errors.New("leadership is being handed over")

// maxRounds is in how many rounds a new member must become level (D§4.2.1), and for how many election timeouts it may come
// no further meanwhile.
const maxRounds = 10

// learning is how far a leader is with bringing a new member its log. It is done in rounds: what the log had when a round
// began is what the round must bring. Each is shorter than the one before, if the member can keep up at all (D§4.2.1).
type learning struct {
	rounds int
	goal   Index // up to here the round goes
	took   int   // ticks so far
	level  bool  // a round took no longer than an election may

	match  Index // what the member had of the log
	offset int   // and of a snapshot, when it last came further,
	stuck  int   // so many ticks ago
}

// Bootstrap returns what is on the disk of each of the first members of a cluster before it begins: an entry that is
// committed because they all have it.
func Bootstrap(members []Member) (HardState, []Entry) {
	voters := slices.SortedFunc(slices.Values(members), byID) // as in a change
	return HardState{Term: 1}, []Entry{{Index: 1, Term: 1, Config: &Configuration{Voters: voters}}}
}

// Configuration returns what is in force, and whether it is committed.
func (r *Raft) Configuration() (c Configuration, committed bool) {
	return r.config.Configuration, r.config.index <= r.commitIndex
}

// Change begins to make next the voters: those that are new get the log first. It takes several entries, and may take
// several leaders. It is over when next are the voters and that is committed; or if one of next could not become level,
// when there is no next any more. To begin what has been begun, or is so already, is no error. To ask for the voters as
// they are withdraws a change whose new members still learn. It returns ErrNotLeader, ErrNotReady, ErrChanging,
// ErrTransfer or ErrNoVoters, with no effect, where it cannot.
func (r *Raft) Change(next []Member) error {
	last, _ := r.log.term(r.commitIndex)
	switch c := &r.config; {
	case r.role != Leader:
		return ErrNotLeader
	case len(next) == 0:
		return ErrNoVoters
	case slices.Equal(c.Next, next) || c.Next == nil && slices.Equal(c.Voters, next):
		return nil
	case last != r.currentTerm: // or else two leaders may change the same configuration, each in its own way (D§4.1, erratum)
		return ErrNotReady
	case r.transferee != None:
		return ErrTransfer
	case c.index > r.commitIndex:
		return ErrChanging
	case c.Next != nil && !c.Joint && slices.Equal(c.Voters, next): // the new only learn yet: it is withdrawn
	case c.Next != nil:
		return ErrChanging
	}
	if slices.EqualFunc(next, r.config.Voters, func(a, b Member) bool { return a.ID == b.ID }) {
		r.appendConfig(Configuration{Voters: next}) // who counts stays as it is
		return nil
	}
	r.appendConfig(Configuration{Voters: r.config.Voters, Next: next})
	return nil
}

func (r *Raft) appendConfig(c Configuration) {
	r.extend(Entry{Index: r.log.lastIndex() + 1, Term: r.currentTerm, Config: &c})
}

// extend appends entries to the log. A configuration is in force as soon as it is there, committed or not: whoever waited
// for that would count by another than those who know more (§6).
func (r *Raft) extend(entries ...Entry) {
	r.log.append(entries...)
	for _, e := range entries {
		if e.Config != nil {
			r.use(newConfig(*e.Config, e.Index))
		}
	}
}

// retract drops the entry at index, and all that follow it. A configuration among them is in force no more.
func (r *Raft) retract(index Index) {
	r.log.cut(index)
	if r.config.index >= index {
		r.use(r.configAt(index - 1))
	}
}

// configAt returns what was in force when the log ended at index.
func (r *Raft) configAt(index Index) config {
	if r.config.index > 0 && r.config.index <= index {
		return r.config
	}
	for ; index > r.log.base(); index-- {
		if c := r.log.configuration(index); c != nil {
			return newConfig(*c, index)
		}
	}
	return newConfig(r.snapshot.Config, r.snapshot.LastIncludedIndex)
}

// use puts a configuration in force.
func (r *Raft) use(c config) {
	r.because("§6: %v", &c.Configuration)
	r.config, r.reconfigured = c, true
	if r.role == Leader {
		r.track()
	}
}

// track has progress of each other member, and of nobody else.
func (r *Raft) track() {
	for id := range r.progress {
		if !slices.Contains(r.config.nodes, id) {
			delete(r.progress, id)
		}
	}
	for _, id := range r.config.nodes {
		if id != r.options.ID && r.progress[id] == nil {
			r.progress[id] = &progress{nextIndex: r.log.lastIndex() + 1, probing: true}
		}
	}
}

// goOn takes a change of the members to its next step, whoever began it, once what is in force is committed, and something
// of this term. While leadership is handed over that is left to the next leader.
func (r *Raft) goOn() {
	last, _ := r.log.term(r.commitIndex)
	if last != r.currentTerm || r.config.index > r.commitIndex || r.transferee != None {
		return
	}
	switch c := &r.config; {
	case c.Next == nil && !c.votes(r.options.ID):
		r.because("§6: this node is no member any more")
		r.leave()
	case c.Next == nil:
	case c.Joint:
		r.appendConfig(Configuration{Voters: c.Next})
	default:
		r.teach()
	}
}

// teach looks how far the new members are. Once all are level they become voters; if one cannot, none does. A majority of
// those who are to count must be there, whoever they are: without it nobody could lead from the next step on, nor take it
// back.
func (r *Raft) teach() {
	all := true
	for _, m := range r.config.Next {
		p := r.progress[m.ID]
		if p == nil || has(r.config.Voters, m.ID) {
			continue
		}
		l := &p.learning
		if !l.level && p.matchIndex >= l.goal {
			l.level = l.rounds > 0 && l.took < r.options.ElectionTicks
			l.rounds, l.goal, l.took = l.rounds+1, r.log.lastIndex(), 0
		}
		if l.note(p); !l.level && (l.rounds > maxRounds || l.stuck > maxRounds*r.options.ElectionTicks) {
			r.because("D§4.2.1: %s does not become level", m.ID)
			r.appendConfig(Configuration{Voters: r.config.Voters})
			return
		}
		all = all && l.level
	}
	if all && middle(r.config.Next, r.answered) > Index(r.checkedRound) {
		r.appendConfig(Configuration{Voters: r.config.Voters, Next: r.config.Next, Joint: true})
	}
}

// note takes down how far the member is.
func (l *learning) note(p *progress) {
	offset := 0
	if p.transfer != nil {
		offset = p.transfer.offset
	}
	if p.matchIndex != l.match || offset != l.offset {
		l.match, l.offset, l.stuck = p.matchIndex, offset, 0
	}
}

// leave ends the reign of a leader that has carried out its own removal. It has led without counting itself (§6). Another
// need not wait until it misses it.
func (r *Raft) leave() {
	best, most := None, Index(0)
	for _, id := range r.config.nodes {
		if p := r.progress[id]; best == None || p.matchIndex > most {
			best, most = id, p.matchIndex
		}
	}
	r.send(best, Message{TimeoutNow: &TimeoutNow{}})
	r.becomeFollower(r.currentTerm, None)
}

// TimeoutNow tells a node to campaign at once (D§3.10).
type TimeoutNow struct{}

// Transfer hands leadership to another voter (D§3.10): from now on there are no new entries, until that node has all and
// leads; or, if that takes longer than an election timeout, until this one goes on.
func (r *Raft) Transfer(to string) error {
	switch {
	case r.role != Leader:
		return ErrNotLeader
	case !r.config.votes(to):
		return ErrNoVoter
	case to == r.options.ID || to == r.transferee: // whoever asks again gets no more time
		return nil
	}
	r.transferee, r.transferElapsed, r.told = to, 0, false
	return nil
}

// handOver tells the node that is to lead to campaign, once it has all entries.
func (r *Raft) handOver() {
	p := r.progress[r.transferee]
	if p != nil && !r.told && p.matchIndex == r.log.lastIndex() {
		r.told = true
		r.send(r.transferee, Message{TimeoutNow: &TimeoutNow{}})
	}
}

// handleTimeoutNow campaigns, with votes that others give though they hear a leader, if it is the leader who says so.
func (r *Raft) handleTimeoutNow(m Message) {
	if m.Term == r.currentTerm && m.From == r.leader {
		r.Campaign()
	}
}

// electable reports whether this node may lead: as a voter of what is committed, or of anything later in its log. One that
// has removed itself may have to lead until that is committed: perhaps nobody else can (D§4.2.2).
func (r *Raft) electable() bool {
	c := r.config
	for !c.votes(r.options.ID) && c.index > r.commitIndex {
		c = r.configAt(c.index - 1)
	}
	return c.votes(r.options.ID)
}
