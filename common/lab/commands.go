package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"raftworkbook/common/netfault"
	"raftworkbook/common/wire"
)

// A command is one that the prompt and scenes know.
type command struct {
	name  string
	usage string // its arguments
	help  string // one line
	from  int    // the first stage that has it

	// read means that it may be repeated without harm and is answered from what a node knows by now.
	read bool

	// loose means that its answer is not the same each time, and so is not saved.
	loose bool

	run func(ctx context.Context, l *Lab, args []word) (string, error)
}

// errQuit ends a session.
var errQuit = errors.New("quit")

// commands is the table of all there is to say, in the order in which help shows it. It is a function
// because help, which it holds, reads it.
func commands() []command {
	return []command{
		{name: "put", usage: "KEY VALUE [@n1]", help: "set a key; @n1 asks that node alone", run: runPut},
		{name: "get", usage: "KEY [@n1]", help: "the value of a key, or absent", read: true, run: runGet},
		{name: "get", usage: "KEY within TIME [@n1]", help: "refused if the answer may be older than that", from: firstSession, read: true, run: runGet},
		{name: "cas", usage: "KEY OLD NEW [@n1]", help: "set a key that is OLD; absent: if there is none", run: runCas},
		{name: "delete", usage: "KEY [@n1]", help: "remove a key", run: runDelete},
		{name: "list", usage: "[PREFIX [DELIMITER]] [@n1]", help: "keys by prefix; one level with a delimiter", read: true, run: runList},
		{name: "append", usage: "KEY MORE [@n1]", help: "make a value longer; its length", run: runAppend},
		{name: "retry", help: "send the last write again, as if unanswered", run: runRetry},
		{name: "run", usage: "put x 1 ...", help: "the stage's own client, on links none can hurt", from: firstClient, run: runProgram},
		{name: "status", help: "all nodes, asked past all faults", loose: true, run: runStatus},
		{name: "log", usage: "n1 [COUNT]", help: "its last entries, 20 unless told", from: firstDurable, loose: true, run: runLog},
		{name: "trace", usage: "on|off [n1]", help: "have it say what it thinks, or all that run", from: firstDurable, run: runTrace},

		{name: "kill", usage: "n1", help: "kill -9 its process", run: runKill},
		{name: "restart", usage: "n1", help: "kill it if it runs; start it on its data again", run: runRestart},
		{name: "restart", usage: "n1 among n1,n2,n3", help: "as one of these, if flags say who is", from: firstCluster, run: runRestart},
		{name: "restart", usage: "n1 -FLAG VALUE ...", help: "with more flags, until it is killed", run: runRestart},
		{name: "wipe", usage: "n1", help: "empty the directory of a dead node", from: firstDurable, run: runWipe},
		{name: "pause", usage: "n1", help: "freeze it (SIGSTOP)", run: runPause},
		{name: "resume", usage: "n1", help: "let it run on (SIGCONT)", run: runResume},
		{name: "lead", usage: "n1", help: "have it lead the next term, or (stage 5) try to", from: firstDurable, run: runLead},
		{name: "snapshot", usage: "n1", help: "have it take a snapshot, and cut its log", from: firstSnapshot, loose: true, run: runSnapshot},

		{name: "members", usage: "[@n1]", help: "who is in the cluster, or is to be", from: firstMembers, read: true, run: runMembers},
		{name: "add", usage: "n6 [n7 ...]", help: "start new nodes, and make them members", from: firstMembers, run: runAdd},
		{name: "remove", usage: "n2 [n3 ...]", help: "they are to be none; they run until killed", from: firstMembers, run: runRemove},
		{name: "replace", usage: "n2 n6", help: "both at once", from: firstMembers, run: runReplace},
		{name: "transfer", usage: "n2", help: "have the leader hand over to it", from: firstMembers, run: runTransfer},

		{name: "cut", usage: "LINK", help: "lose all on n1 n2, n1>n2, client n1, client<n1", run: hurt((*netfault.Forwarder).Cut)},
		{name: "stall", usage: "LINK", help: "hold all back until it is healed", run: hurt((*netfault.Forwarder).Stall)},
		{name: "slow", usage: "LINK TIME", help: "delay all: slow n1 n2 200ms", run: runSlow},
		{name: "reorder", usage: "LINK", help: "let lines overtake each other", run: runReorder},
		{name: "isolate", usage: "n1", help: "cut it from all nodes, but not from the client", from: firstCluster, run: runIsolate},
		{name: "partition", usage: "n1,n2 n3,n4,n5", help: "cut all links between groups", from: firstCluster, run: runPartition},
		{name: "heal", usage: "[LINK]", help: "undo all faults, or those of one link", run: runHeal},

		{name: "timeout", usage: "TIME", help: "how long to wait for an answer, 2s at first", run: runTimeout},
		{name: "wait", usage: "COMMAND => OUTCOME", help: "repeat a command until it answers that; 5s"},
		{name: "after", usage: "TIME COMMAND", help: "carry it out later; its answer comes as news"},
		{name: "expect", usage: "OUTCOME", help: "check the last answer"},
		{name: "save", usage: "FILE", help: "write what was done so far as a scene", run: runSave},
		{name: "help", help: "this", loose: true, run: runHelp},
		{name: "quit", help: "end, like Ctrl-D; Ctrl-C ends a command first", run: runQuit},
	}
}

// lookUp finds a command of this stage by its name.
func (l *Lab) lookUp(name word) (command, error) {
	nearest, distance := "", 3
	for _, c := range commands() {
		switch d := editDistance(name.text, c.name); {
		case c.name == name.text && c.from > l.opt.Stage:
			return command{}, fmt.Errorf("%s comes with stage %d; this is stage %d", c.name, c.from, l.opt.Stage)
		case c.name == name.text:
			return c, nil
		case d < distance && c.from <= l.opt.Stage && d < len(c.name):
			nearest, distance = c.name, d
		}
	}
	if nearest != "" {
		return command{}, fmt.Errorf("there is no command %s; did you mean %s?", show(cut(name.text, maxWord)), nearest)
	}
	return command{}, fmt.Errorf("there is no command %s; help lists them", show(cut(name.text, maxWord)))
}

// editDistance counts the letters to change, insert or remove to make b from a.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

func runQuit(_ context.Context, _ *Lab, args []word) (string, error) {
	if len(args) > 0 {
		return "", tooMuch(args)
	}
	return "", errQuit
}

func runHelp(_ context.Context, l *Lab, args []word) (string, error) {
	if len(args) > 0 {
		return "", tooMuch(args)
	}
	var b strings.Builder
	for _, c := range commands() {
		if c.from <= l.opt.Stage {
			fmt.Fprintf(&b, "%-32s %s\n", c.name+" "+c.usage, c.help)
		}
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// arguments checks how many there are and takes off a last @n1, for which it returns the node.
func (l *Lab) arguments(args []word, least, most int) ([]word, *member, error) {
	var at *member
	if n := len(args); n > 0 && !args[n-1].quoted && strings.HasPrefix(args[n-1].text, "@") {
		m, err := l.member(args[n-1].text[1:])
		if err != nil {
			return nil, nil, err
		}
		at, args = m, args[:n-1]
	}
	switch {
	case len(args) < least:
		return nil, nil, errTooFew
	case len(args) > most:
		return nil, nil, tooMuch(args[most:])
	}
	return args, at, nil
}

var errTooFew = errors.New("something is missing")

func runPut(ctx context.Context, l *Lab, args []word) (string, error) {
	args, at, err := l.arguments(args, 2, 2)
	if err != nil {
		return "", err
	}
	return l.write(ctx, at, wire.Request{Op: "put", Key: args[0].text, Value: &args[1].text},
		func(wire.Response) string { return "ok" })
}

func runGet(ctx context.Context, l *Lab, args []word) (string, error) {
	args, at, err := l.arguments(args, 1, 3)
	if err != nil {
		return "", err
	}
	r := wire.Request{Op: "get", Key: args[0].text}
	if r.MaxStalenessMS, err = l.within(args[1:]); err != nil {
		return "", err
	}
	return l.read(ctx, at, r, value)
}

// within reads what may follow a get, "within TIME", as milliseconds; nil if nothing follows.
func (l *Lab) within(args []word) (*uint64, error) {
	switch {
	case len(args) == 0:
		return nil, nil
	case !args[0].is("within"):
		return nil, tooMuch(args)
	case l.opt.Stage < firstSession:
		return nil, fmt.Errorf("within comes with stage %d; this is stage %d", firstSession, l.opt.Stage)
	}
	d, err := duration(args[1:])
	return new(uint64(d.Milliseconds())), err
}

// value is the value in a response, or absent.
func value(r wire.Response) string {
	switch {
	case r.Found != nil && !*r.Found:
		return "absent"
	case r.Value == nil:
		return malformed(r)
	default:
		return show(*r.Value)
	}
}

// malformed is the answer when a server says ok, but lacks what its answer must have.
func malformed(r wire.Response) string {
	return "error bad_response: " + oneLine(fmt.Sprintf("%.200s", r.Raw))
}

func runCas(ctx context.Context, l *Lab, args []word) (string, error) {
	args, at, err := l.arguments(args, 3, 3)
	if err != nil {
		return "", err
	}
	r := wire.Request{Op: "cas", Key: args[0].text, Value: &args[2].text}
	if !args[1].is("absent") {
		r.Expect = &args[1].text
	}
	return l.write(ctx, at, r, func(r wire.Response) string {
		switch {
		case r.Swapped == nil:
			return malformed(r)
		case *r.Swapped:
			return "swapped"
		default:
			return "not swapped: " + value(r)
		}
	})
}

func runDelete(ctx context.Context, l *Lab, args []word) (string, error) {
	args, at, err := l.arguments(args, 1, 1)
	if err != nil {
		return "", err
	}
	return l.write(ctx, at, wire.Request{Op: "delete", Key: args[0].text}, func(r wire.Response) string {
		switch {
		case r.Found == nil:
			return malformed(r)
		case *r.Found:
			return "ok"
		default:
			return "absent"
		}
	})
}

func runList(ctx context.Context, l *Lab, args []word) (string, error) {
	args, at, err := l.arguments(args, 0, 2)
	if err != nil {
		return "", err
	}
	r := wire.Request{Op: "list"}
	if len(args) > 0 {
		r.Prefix = args[0].text
	}
	if len(args) > 1 {
		r.Delimiter = args[1].text
	}
	return l.read(ctx, at, r, func(r wire.Response) string {
		var lines []string
		for _, names := range [][]string{r.Keys, r.Prefixes} {
			for _, name := range names {
				lines = append(lines, show(name))
			}
		}
		if r.More {
			lines = append(lines, "... more")
		}
		if len(lines) == 0 {
			return "nothing"
		}
		return strings.Join(lines, "\n")
	})
}

func runAppend(ctx context.Context, l *Lab, args []word) (string, error) {
	args, at, err := l.arguments(args, 2, 2)
	if err != nil {
		return "", err
	}
	return l.write(ctx, at, wire.Request{Op: "append", Key: args[0].text, Value: &args[1].text}, func(r wire.Response) string {
		if r.Length == nil {
			return malformed(r)
		}
		return strconv.Itoa(*r.Length)
	})
}

func runKill(_ context.Context, l *Lab, args []word) (string, error) {
	m, err := l.oneNode(args)
	if err != nil {
		return "", err
	}
	if m.state() == "dead" {
		return "", fmt.Errorf("%s is dead already", m.ID)
	}
	return "ok", l.killNode(m)
}

func runRestart(ctx context.Context, l *Lab, args []word) (string, error) {
	among, more, apart := l.first, []string(nil), false
	switch {
	case len(args) < 2:
	case args[1].is("among") && l.opt.Stage >= firstCluster:
		var err error
		if among, err = l.some(args[2:]); err != nil {
			return "", err
		}
		args, apart = args[:1], true
	case strings.HasPrefix(args[1].text, "-"):
		for _, w := range args[1:] {
			more = append(more, w.text)
		}
		args = args[:1]
	}
	m, err := l.oneNode(args)
	if err != nil {
		return "", err
	}
	if err := l.startNode(ctx, m, among, more...); err != nil {
		return "", err
	}
	if !apart {
		l.meet(ctx)
	}
	return "ok", nil
}

// some reads the only argument as nodes: n1,n2,n3.
func (l *Lab) some(args []word) ([]Node, error) {
	switch {
	case len(args) == 0:
		return nil, errTooFew
	case len(args) > 1:
		return nil, tooMuch(args[1:])
	}
	var nodes []Node
	for id := range strings.SplitSeq(args[0].text, ",") {
		m, err := l.member(id)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, m.Node)
	}
	return nodes, nil
}

func runWipe(_ context.Context, l *Lab, args []word) (string, error) {
	m, err := l.oneNode(args)
	if err != nil {
		return "", err
	}
	m.changing.Lock()
	defer m.changing.Unlock()
	if m.state() != "dead" {
		return "", fmt.Errorf("%s runs; kill %s first", m.ID, m.ID)
	}
	return "ok", os.RemoveAll(m.Dir)
}

func runPause(_ context.Context, l *Lab, args []word) (string, error) {
	m, err := l.oneNode(args)
	if err != nil {
		return "", err
	}
	return "ok", m.pause(true)
}

func runResume(_ context.Context, l *Lab, args []word) (string, error) {
	m, err := l.oneNode(args)
	if err != nil {
		return "", err
	}
	return "ok", m.pause(false)
}

func runTimeout(_ context.Context, l *Lab, args []word) (string, error) {
	d, err := duration(args)
	if err != nil {
		return "", err
	}
	l.client.setPatience(d)
	return "ok", nil
}
