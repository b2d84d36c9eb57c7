package sim

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"raftworkbook/common/trace"
)

// A player plays scripts: it gives a cluster of cores what the script says, and writes what they say. Nothing takes
// time. What a node wants done is done at once, in order; what it sends is on its way until the script has it arrive.
type player struct {
	algorithm Algorithm
	options   Options
	nodes     []*played
	// flying is on its way, oldest first; aside is held back.
	flying, aside []*Message
	cut           map[string]bool // links, such as n1>n2
	shown         []string        // whose events are written
	out           strings.Builder
}

// A played node is one of a script's.
type played struct {
	host
	nodes  []string // of which it is told
	paused bool
	inbox  []arrival
}

// A verb is what a script may begin a line with.
type verb struct {
	usage       string
	least, most int // arguments
	do          func(p *player, args []string) error
}

const many = 100

var verbs = map[string]verb{
	"nodes":     {"NUMBER, or NAME NAME...", 1, many, (*player).setNodes},
	"batch":     {"BYTES in one message", 1, 1, (*player).setBatch},
	"keep":      {"BYTES in the log though a snapshot stands for them", 1, 1, (*player).setKeep},
	"inflight":  {"NUMBER of messages with entries on their way to a follower", 1, 1, (*player).setInflight},
	"show":      {"NODE...: only what these say; all; nothing", 1, many, (*player).show},
	"log":       {"NODE TERM...: start it with a log of these terms", 1, many, (*player).log},
	"lead":      {"NODE [TERM]: a later one than TERM; or try", 1, 2, (*player).lead},
	"read":      {"NODE", 1, 1, (*player).read},
	"propose":   {"NODE COMMAND...: all at once", 2, many, (*player).propose},
	"tick":      {"NODE [TIMES]", 1, 2, (*player).tick},
	"deliver":   {"everything until nothing is left; or A>B [TIMES]: the oldest; or A B: all between them", 0, 2, (*player).deliver},
	"drop":      {"everything; or A>B [TIMES]: the oldest", 0, 2, (*player).drop},
	"delay":     {"A>B: hold the oldest back", 1, 1, (*player).delay},
	"duplicate": {"A>B: hold a copy of the oldest back", 1, 1, (*player).duplicate},
	"late":      {"A>B: deliver the oldest that is held back", 1, 1, (*player).late},
	"forge":     {"MESSAGE, as JSON: deliver what no node has sent", 1, many, (*player).forge},
	"cut":       {"A>B, or A B: lose what is sent from now on", 1, 2, (*player).cutLinks},
	"isolate":   {"NODE: cut all its links", 1, 1, (*player).isolate},
	"heal":      {"all links", 0, 0, (*player).heal},
	"start":     {"NODE [NAME...]: one that is new, or dead, and is told of these nodes", 1, many, (*player).startNode},
	"crash":     {"NODE", 1, 1, (*player).crash},
	"restart":   {"NODE: on its disk", 1, 1, (*player).restart},
	"pause":     {"NODE: what comes waits", 1, 1, (*player).pause},
	"resume":    {"NODE: it takes in all that came, at once", 1, 1, (*player).resume},
	"snapshot":  {"NODE: save one now", 1, 1, (*player).snapshot},
	"change":    {"NODE NAME...: who are to be the voters", 2, many, (*player).change},
	"transfer":  {"NODE NAME: who is to lead", 2, 2, (*player).transfer},
	"expect":    {"NODE leader t2 last=3@2...; or NODE log [after INDEX] TERM...; or NODE voters NAME...; or the same on all that live", 1, many, (*player).expect},
}

func newPlayer(a Algorithm) *player {
	return &player{algorithm: a, cut: map[string]bool{},
		options: Options{HeartbeatTicks: 1, MaxBatch: 1 << 20, MaxInflight: 8, MaxUncommitted: 1 << 20,
			ElectionTicks: 10, Random: func(int) int { return 0 }}}
}

// play does what a line says.
func (p *player) play(line string) error {
	words := strings.Fields(line)
	if len(words) == 0 || strings.HasPrefix(words[0], "#") {
		return nil
	}
	v, ok := verbs[words[0]]
	switch n := len(words) - 1; {
	case !ok:
		return fmt.Errorf("there is no %q, only %s", words[0], strings.Join(slices.Sorted(maps.Keys(verbs)), ", "))
	case n < v.least || n > v.most:
		return fmt.Errorf("%s takes %s", words[0], v.usage)
	}
	if err := v.do(p, words[1:]); err != nil {
		return fmt.Errorf("%s: %w", line, err)
	}
	return nil
}

// setNodes makes the cluster, or makes it anew.
func (p *player) setNodes(args []string) error {
	if n, err := strconv.Atoi(args[0]); err == nil {
		args = names(n)
	}
	p.nodes = nil
	for _, id := range args {
		p.add(id, args)
	}
	return nil
}

// add adds a node that is told of others. What it says as it starts is not shown.
func (p *player) add(id string, nodes []string) *played {
	n := &played{host: host{id: id, watched: true}, nodes: nodes}
	p.launch(n)
	p.nodes = append(p.nodes, n)
	return n
}

// startNode starts a node that is told of others than it was, or of others than the rest.
func (p *player) startNode(args []string) error {
	n, err := p.find(args[0])
	switch {
	case err != nil:
		p.write(p.add(args[0], args[1:]).starts())
	case n.core != nil:
		return errors.New("it lives")
	default:
		n.nodes = args[1:]
		p.begin(n)
	}
	return nil
}

// launch starts a node.
func (p *player) launch(n *played) {
	o := p.options
	o.Nodes = n.nodes
	n.start(p.algorithm, o)
}

func (p *player) setBatch(args []string) (err error) {
	p.options.MaxBatch, err = strconv.Atoi(args[0])
	return errors.Join(err, p.unstarted())
}

func (p *player) setInflight(args []string) (err error) {
	p.options.MaxInflight, err = strconv.Atoi(args[0])
	return errors.Join(err, p.unstarted())
}

func (p *player) setKeep(args []string) (err error) {
	p.options.KeepBytes, err = strconv.Atoi(args[0])
	return errors.Join(err, p.unstarted())
}

// unstarted is an error if there are nodes, which have their options.
func (p *player) unstarted() error {
	if len(p.nodes) > 0 {
		return errors.New("it belongs before the nodes")
	}
	return nil
}

func (p *player) show(args []string) error {
	p.shown = args
	return nil
}

// write writes an event, if it is of a node that is shown.
func (p *player) write(e trace.Event) {
	if len(p.shown) == 0 || p.shown[0] == "all" || slices.Contains(p.shown, e.Node) {
		p.out.WriteString(e.String())
	}
}

func (p *player) writeArrival(who, what, text string) {
	p.write(trace.Event{Node: who, Arrived: []trace.Arrival{{What: what, Text: text}}})
}

func (p *player) log(args []string) error {
	n, err := p.find(args[0])
	if err != nil {
		return err
	}
	var entries []Entry
	term := uint64(0)
	for i, word := range args[1:] {
		if term, err = strconv.ParseUint(word, 10, 64); err != nil {
			return err
		}
		entries = append(entries, Entry{Index: uint64(i) + 1, Term: term, Command: []byte(`"x"`)})
	}
	n.disk, n.snapshot = []any{p.algorithm.Record(term, entries)}, Snapshot{}
	p.begin(n)
	return nil
}

func (p *player) lead(args []string) (err error) {
	after := 0
	if len(args) == 2 {
		after, err = strconv.Atoi(args[1])
	}
	return errors.Join(err, p.arrive(args[0], arrival{lead: true, after: uint64(after)}))
}

func (p *player) read(args []string) error { return p.arrive(args[0], arrival{read: &read{}}) }

func (p *player) change(args []string) error { return p.arrive(args[0], arrival{change: args[1:]}) }

func (p *player) transfer(args []string) error {
	return p.arrive(args[0], arrival{transfer: args[1]})
}

func (p *player) propose(args []string) error {
	return p.arrive(args[0], arrival{words: args[1:]})
}

func (p *player) tick(args []string) error {
	times, err := count(args[1:])
	for range times {
		err = errors.Join(err, p.arrive(args[0], arrival{tick: true}))
	}
	return err
}

// count is the number of times in the last argument, 1 if there is none.
func count(args []string) (int, error) {
	if len(args) == 0 {
		return 1, nil
	}
	return strconv.Atoi(args[0])
}

func (p *player) deliver(args []string) error {
	switch {
	case len(args) == 0:
		return p.deliverAll(func(*Message) bool { return true })
	case strings.Contains(args[0], ">"):
		return p.eachOldest(args, p.reach)
	case len(args) == 2:
		return p.deliverAll(func(m *Message) bool {
			return m.From == args[0] && m.To == args[1] || m.From == args[1] && m.To == args[0]
		})
	}
	return errors.New("from whom to whom?")
}

// deliverAll delivers what is on its way and meant, until nothing is.
func (p *player) deliverAll(meant func(*Message) bool) error {
	for range 10 * endless {
		i := slices.IndexFunc(p.flying, meant)
		if i < 0 {
			return nil
		}
		m := p.flying[i]
		p.flying = slices.Delete(p.flying, i, i+1)
		if err := p.reach(m); err != nil {
			return err
		}
	}
	return errors.New("it comes to no end")
}

// eachOldest takes the oldest message on a link off the way, as often as args say, and does something with it.
func (p *player) eachOldest(args []string, do func(*Message) error) error {
	times, err := count(args[1:])
	if err != nil {
		return err
	}
	for range times {
		m, err := takeOldest(&p.flying, args[0])
		if err != nil {
			return err
		}
		if err := do(m); err != nil {
			return err
		}
	}
	return nil
}

// takeOldest takes the oldest message of a link off a list.
func takeOldest(messages *[]*Message, link string) (*Message, error) {
	for i, m := range *messages {
		if m.From+">"+m.To == link {
			*messages = slices.Delete(*messages, i, i+1)
			return m, nil
		}
	}
	return nil, errors.New("there is no message")
}

// reach lets a message arrive.
func (p *player) reach(m *Message) error {
	n, err := p.find(m.To)
	if err != nil || n.core == nil {
		return errors.Join(err, p.lose(m))
	}
	return p.arrive(m.To, arrival{message: m})
}

func (p *player) lose(m *Message) error {
	p.writeArrival("net", "loses", fmt.Sprintf("%s>%s %v", m.From, m.To, m.Body))
	return nil
}

func (p *player) drop(args []string) error {
	if len(args) > 0 {
		return p.eachOldest(args, p.lose)
	}
	for _, m := range p.flying {
		p.lose(m)
	}
	p.flying = nil
	return nil
}

func (p *player) delay(args []string) error {
	return p.eachOldest(args, func(m *Message) error {
		p.aside = append(p.aside, m)
		return nil
	})
}

func (p *player) duplicate(args []string) error {
	for _, m := range p.flying {
		if m.From+">"+m.To == args[0] {
			p.aside = append(p.aside, m)
			return nil
		}
	}
	return errors.New("there is no message")
}

func (p *player) late(args []string) error {
	m, err := takeOldest(&p.aside, args[0])
	if err != nil {
		return err
	}
	return p.reach(m)
}

func (p *player) forge(args []string) error {
	m, err := p.algorithm.Message(strings.Join(args, " "))
	if err != nil {
		return err
	}
	return p.reach(&m)
}

func (p *player) cutLinks(args []string) error {
	if len(args) == 2 {
		args = []string{args[0] + ">" + args[1], args[1] + ">" + args[0]}
	}
	for _, link := range args {
		from, to, ok := strings.Cut(link, ">")
		_, err1 := p.find(from)
		_, err2 := p.find(to)
		if err := errors.Join(err1, err2); !ok || err != nil {
			return errors.Join(errors.New("no link"), err)
		}
		p.cut[link] = true
	}
	return nil
}

func (p *player) isolate(args []string) error {
	if _, err := p.find(args[0]); err != nil {
		return err
	}
	for _, n := range p.nodes {
		if n.id != args[0] {
			if err := p.cutLinks([]string{n.id, args[0]}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *player) heal([]string) error {
	clear(p.cut)
	return nil
}

func (p *player) crash(args []string) error {
	n, err := p.living(args[0])
	if err != nil {
		return err
	}
	n.host.crash()
	n.paused, n.inbox = false, nil
	p.writeArrival(n.id, "crashes", "")
	return nil
}

func (p *player) restart(args []string) error {
	n, err := p.find(args[0])
	if err != nil {
		return err
	}
	if n.core != nil {
		return errors.New("it lives")
	}
	p.begin(n)
	return nil
}

// begin gives a node a life.
func (p *player) begin(n *played) {
	p.launch(n)
	p.write(n.starts())
}

func (p *player) pause(args []string) error {
	n, err := p.living(args[0])
	if err != nil {
		return err
	}
	n.paused = true
	p.writeArrival(n.id, "pauses", "")
	return nil
}

func (p *player) resume(args []string) error {
	n, err := p.living(args[0])
	if err != nil {
		return err
	}
	n.paused = false
	p.writeArrival(n.id, "resumes", "")
	p.work(n)
	return nil
}

// snapshot lets a node save a snapshot, of all that it has applied. Nothing comes in between.
func (p *player) snapshot(args []string) error {
	n, err := p.living(args[0])
	switch {
	case err != nil:
		return err
	case n.machine.Index == 0:
		return errors.New("it has applied nothing")
	}
	s := n.snap(0)
	n.store(p.algorithm, s)
	p.writeArrival(n.id, "saves", upTo(s))
	rd, _, e := n.compact(s)
	if rd.Save != nil {
		n.save(rd.Save)
	}
	p.write(*e)
	p.carryOut(n)
	return nil
}

// find returns the node of this name. A script that names none has three.
func (p *player) find(id string) (*played, error) {
	if len(p.nodes) == 0 {
		p.setNodes([]string{"3"})
	}
	for _, n := range p.nodes {
		if n.id == id {
			return n, nil
		}
	}
	return nil, fmt.Errorf("there is no node %s", id)
}

func (p *player) living(id string) (*played, error) {
	n, err := p.find(id)
	if err == nil && n.core == nil {
		err = fmt.Errorf("%s is dead", id)
	}
	return n, err
}

// arrive puts something into a node's inbox.
func (p *player) arrive(id string, a arrival) error {
	n, err := p.living(id)
	if err != nil {
		return err
	}
	if n.inbox = append(n.inbox, a); !n.paused {
		p.work(n)
	}
	return nil
}

// work lets a node take in all that has come, carries out what it wants, and answers those who read.
func (p *player) work(n *played) {
	for _, a := range n.inbox {
		switch {
		case a.message != nil:
			n.hear(a.message)
		case a.tick:
			n.tick()
		case a.lead:
			n.lead(a.after)
		case a.read != nil:
			n.read(a.read.floor)
		case a.change != nil:
			n.change(a.change)
		case a.transfer != "":
			n.transfer(a.transfer)
		}
		for _, command := range a.words {
			n.propose([]byte(command))
		}
	}
	n.inbox = nil
	p.carryOut(n)
	n.answered(func(_ read, applied uint64, lost bool) {
		what := fmt.Sprintf("what is done up to %d", applied)
		if lost {
			what = "nothing: it leads no more"
		}
		p.writeArrival(n.id, "reads", what)
	})
}

// carryOut carries out what a node wants, until there is nothing.
func (p *player) carryOut(n *played) {
	for {
		rd, ok, e := n.ready()
		if e == nil {
			return
		}
		if rd.Save != nil {
			n.save(rd.Save)
			if s := rd.Save.Snapshot; s != nil {
				n.machine, _ = restored(*s)
			}
		}
		for _, e := range rd.Committed {
			n.machine.apply(e)
		}
		for _, m := range slices.Concat(rd.Appends, rd.Messages) {
			e.Sends = append(e.Sends, trace.Message{From: m.From, To: m.To, Text: fmt.Sprint(m.Body), Fate: p.send(m)})
		}
		p.write(*e)
		if !ok {
			return
		}
	}
}

// send puts a message on its way, and returns its fate.
func (p *player) send(m Message) string {
	if p.cut[m.From+">"+m.To] {
		return "LOST"
	}
	p.flying = append(p.flying, &m)
	return ""
}

// expect compares what is with what a script says.
func (p *player) expect(args []string) error {
	if args[0] == "same" {
		return p.expectSame()
	}
	n, err := p.living(args[0])
	if err != nil {
		return err
	}
	if len(args) > 1 && args[1] == "log" {
		return compare(args[2:], n.terms())
	}
	if len(args) > 1 && args[1] == "voters" {
		now, _ := n.core.(Changer).Configs()
		return compare(args[2:], strings.Fields(now.String()))
	}
	is := strings.Fields(trace.Event{Node: n.id, Is: n.core.State()}.String())[2:]
	for _, word := range args[1:] {
		if !slices.Contains(is, word) {
			return compare(args[1:], is)
		}
	}
	return nil
}

func compare(want, is []string) error {
	if w, i := strings.Join(want, " "), strings.Join(is, " "); w != i {
		return fmt.Errorf("it is %s", i)
	}
	return nil
}

// terms are those of the log, after the index up to which it is gone, if it is.
func (h *host) terms() (all []string) {
	log := h.core.Log()
	if gone := h.core.State().LastIndex - uint64(len(log)); gone > 0 {
		all = append(all, "after", strconv.FormatUint(gone, 10))
	}
	for _, e := range log {
		all = append(all, strconv.FormatUint(e.Term, 10))
	}
	return all
}

// expectSame requires that all nodes that live have the same log.
func (p *player) expectSame() error {
	var first *played
	for _, n := range p.nodes {
		switch {
		case n.core == nil:
		case first == nil:
			first = n
		case !same(first, n):
			return fmt.Errorf("%s has %s, and %s has %s", first.id, places(first.core.Log()), n.id, places(n.core.Log()))
		}
	}
	return nil
}

// same reports whether two nodes have the same log. What is gone of one of them is in its state machine, which is the same
// if both have applied as much.
func same(a, b *played) bool {
	is, other := a.core.State(), b.core.State()
	if is.LastIndex != other.LastIndex || is.LastTerm != other.LastTerm || a.machine.Index == b.machine.Index && a.machine != b.machine {
		return false
	}
	log, others := a.core.Log(), b.core.Log()
	both := min(len(log), len(others))
	return slices.EqualFunc(log[len(log)-both:], others[len(others)-both:], func(a, b Entry) bool {
		return place(a) == place(b) && string(a.Command) == string(b.Command)
	})
}
