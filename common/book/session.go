package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// commandTime is how long a command may take, and stillTime how long one is waited for when the next line
	// is typed elsewhere.
	commandTime = 2 * time.Minute
	stillTime   = 10 * time.Second

	// traceTime is how long terminals are watched for what should have come of a block.
	traceTime = 5 * time.Second
)

// A session plays a chapter.
type session struct {
	chapter
	// work is the copy of the tree, tmp what is /tmp in the chapter.
	work, tmp string
	// startLab starts a lab of the chapter's stage.
	startLab string
	// These are commandTime, stillTime and traceTime, but for tests.
	limit, still, watch time.Duration

	shell *shell
	// busy is where the output belongs of what still runs in the shell; nil if nothing does.
	busy *result
	// terminals are those that have been opened beside the shell, under this heading.
	terminals []*terminal
	lab       *terminal
	labPart   int
	typed     int // lines at the prompt of labs

	// due are the results of commands whose output is yet to follow.
	due     []*result
	duePart int
	told    bool              // whether some of it has followed
	screens map[*terminal]int // where it began on each screen

	tally
}

// A result is a step with what came of it.
type result struct {
	step
	got     []string
	leftOut bool
}

// play types all commands of the chapter.
func play(ctx context.Context, c chapter, work, tmp string) tally {
	s := &session{chapter: c, work: work, tmp: tmp, startLab: "go run ./" + c.stage,
		limit: commandTime, still: stillTime, watch: traceTime}
	if err := s.play(ctx); err != nil && ctx.Err() == nil {
		s.problem(1, "%v", err)
	}
	return s.tally
}

func (s *session) play(ctx context.Context) (err error) {
	defer func() {
		s.leave()
		if s.shell != nil {
			s.shell.close()
		}
	}()
	if s.shell, err = openShell(s.work, s.tmp); err != nil {
		return err
	}
	s.Problems = append(s.Problems, s.wrong...)
	heading := 0
	for _, b := range s.blocks {
		if b.heading != heading {
			heading = b.heading
			s.leave()
			s.due = nil
		}
		if err := s.block(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

// block plays one block.
func (s *session) block(ctx context.Context, b block) error {
	steps := b.steps()
	if scene := b.scene(); scene != "" {
		// What comes late, or of the nodes, has no place of its own in it, and is on standard error.
		typed := fmt.Sprintf("%s lab -scene %s/scenes/%s 2>/dev/null", s.startLab, s.stage, scene)
		steps = []step{{line: b.line, prompt: "$", typed: typed, want: b.lines}}
	}
	switch {
	case b.mark.notRun != "":
		s.leaveOut(b.line, len(steps), b.mark.notRun)
		s.due = nil
	case b.file() != "":
		s.compareFile(b)
	case len(steps) > 0:
		return s.carryOut(ctx, b, steps)
	case s.due != nil && b.language == "", b.isTrace():
		return s.compareDue(ctx, b)
	}
	return nil
}

// carryOut carries out the steps of a block.
func (s *session) carryOut(ctx context.Context, b block, steps []step) error {
	if s.due == nil || s.told || s.duePart != b.part {
		s.due, s.duePart, s.told, s.screens = nil, b.part, false, map[*terminal]int{}
		for _, t := range s.terminals {
			s.screens[t] = t.size()
		}
	}
	var results []*result
	shown := false
	for i, st := range steps {
		r := &result{step: st}
		results = append(results, r)
		shown = shown || st.want != nil
		elsewhere := i+1 < len(steps) && steps[i+1].prompt != "$"
		began := time.Now()
		if err := s.step(ctx, b, r, elsewhere); err != nil {
			return err
		}
		if verbose {
			fmt.Fprintf(os.Stderr, "%s:%d: %s %s (%.1fs)\n", s.path, r.line, r.prompt, r.typed, time.Since(began).Seconds())
		}
	}
	if err := s.settleShell(ctx); err != nil {
		return err
	}
	switch {
	case b.mark.notCompared != "":
		s.Uncompared = append(s.Uncompared, fmt.Sprintf("%s:%d: %s", s.path, b.line, b.mark.notCompared))
	case !shown:
		s.due = append(s.due, results...)
	default:
		s.due = nil
		for _, r := range results {
			s.compare(b, r)
		}
	}
	return nil
}

// staysNode and staysLab are commands that do not end by themselves.
var (
	staysNode = regexp.MustCompile(`^(\w+=\S+; )?(go run \./\S+|/tmp/\w+) node( [^|<>&\n]*)?$`)
	staysLab  = regexp.MustCompile(`^go run \./stage[^ ]+( lab( [^|<>&\n]*)?)?$`)
)

// heavy is what is not run, since it takes minutes, or does nothing that a chapter shows.
var heavy = []struct {
	pattern *regexp.Regexp
	why     string
}{
	{regexp.MustCompile(`^make (test|race|soak|bugs|lint|fuzz|bench)\b`), "takes minutes, and is a target of its own"},
	{regexp.MustCompile(`^go test (-\S+ \S+ )*\./stage[^ /]+/\.\.\.$`), "runs all tests of a stage, as make test does"},
	{regexp.MustCompile(`^go test .*-fuzz `), "fuzzes, as make fuzz does"},
}

// step carries out one step. If the next is typed elsewhere, it does not wait for one that goes on.
func (s *session) step(ctx context.Context, b block, r *result, elsewhere bool) error {
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	for _, h := range heavy {
		if r.prompt == "$" && h.pattern.MatchString(r.typed) {
			r.leftOut = true
			s.leaveOut(r.line, 1, h.why)
			return nil
		}
	}
	if r.prompt != ctrlC {
		s.Run++
	}
	switch {
	case r.prompt == ctrlC:
		s.interrupt(r)
		return nil
	case r.prompt == ">":
		return s.atPrompt(ctx, b, r)
	}
	if err := s.settleShell(ctx); err != nil {
		return err
	}
	typed := s.here(r.typed)
	isLab := staysLab.MatchString(r.typed) && !strings.Contains(r.typed, "-scene ")
	switch {
	case isLab:
		return s.openLab(ctx, b, typed)
	case staysNode.MatchString(r.typed):
		return s.openNode(ctx, r, typed)
	}
	s.busy = r
	if err := s.shell.begin(typed); err != nil {
		return err
	}
	if elsewhere && r.want == nil { // one whose output is shown ends before that
		still, cancel := context.WithTimeout(ctx, s.still)
		defer cancel()
		if _, ok := s.shell.end(still); !ok {
			return nil
		}
	}
	return s.settleShell(ctx)
}

// settleShell waits for what runs in the shell. What does not end is ended, with all that was in the shell.
func (s *session) settleShell(ctx context.Context) error {
	r := s.busy
	if r == nil {
		return nil
	}
	s.busy = nil
	ctx, cancel := context.WithTimeout(ctx, s.limit)
	defer cancel()
	output, ok := s.shell.end(ctx)
	r.got = append(r.got, s.lines(output)...)
	if ok {
		return nil
	}
	s.problem(r.line, "$ %s\n    does not end within %v", r.typed, s.limit)
	s.shell.signal(syscall.SIGKILL)
	s.shell.close()
	var err error
	s.shell, err = openShell(s.work, s.tmp)
	return err
}

// interrupt is Ctrl-C: in the shell if something runs there, else in the terminal that was opened last.
func (s *session) interrupt(r *result) {
	if s.busy != nil {
		s.shell.signal(syscall.SIGINT)
		return
	}
	n := len(s.terminals)
	if n == 0 {
		s.problem(r.line, "^C, and nothing runs")
		return
	}
	s.close(s.terminals[n-1])
}

// openNode starts a command that stays, and waits for its first words.
func (s *session) openNode(ctx context.Context, r *result, typed string) error {
	t, err := s.newTerminal(ctx, typed)
	if err != nil {
		return err
	}
	text, _ := t.await(ctx, 0, func(text string) bool { return strings.Count(text, "\n") >= max(1, len(r.want)) })
	r.got = s.lines(text)
	if len(r.got) == 0 {
		s.problem(r.line, "$ %s\n    says nothing", r.typed)
	}
	return nil
}

// openLab starts a lab, and ends the one before.
func (s *session) openLab(ctx context.Context, b block, typed string) error {
	if s.lab != nil {
		s.close(s.lab)
	}
	t, err := s.newTerminal(ctx, typed)
	s.lab, s.labPart = t, b.part
	return err
}

func (s *session) newTerminal(ctx context.Context, typed string) (*terminal, error) {
	t, err := s.shell.newTerminal(ctx, s.work, typed)
	if err == nil {
		s.terminals = append(s.terminals, t)
	}
	return t, err
}

// close ends a terminal.
func (s *session) close(t *terminal) {
	t.close()
	s.terminals = slices.DeleteFunc(s.terminals, func(other *terminal) bool { return other == t })
	if s.lab == t {
		s.lab = nil
	}
}

// leave ends all terminals but the shell, the last first.
func (s *session) leave() {
	for len(s.terminals) > 0 {
		s.close(s.terminals[len(s.terminals)-1])
	}
}

// atPrompt types a line at the prompt of the lab.
func (s *session) atPrompt(ctx context.Context, b block, r *result) error {
	if s.lab == nil || s.labPart != b.part {
		if err := s.openLab(ctx, b, s.startLab); err != nil {
			return err
		}
	}
	// A command that there is not is complained of at once: so one knows that the answer before is complete.
	s.typed++
	mark := fmt.Sprintf("typed-%d", s.typed)
	n := s.lab.size()
	fmt.Fprintf(s.lab.keyboard, "%s\n%s\n", s.here(r.typed), mark)
	text, ok := s.lab.await(ctx, n, func(text string) bool { return strings.Contains(text, mark+": there is no command") })
	r.got = s.lines(text)
	if !ok {
		s.problem(r.line, "> %s\n    is not answered within %v: %s", r.typed, s.limit, text)
	}
	return nil
}

// here is a command with the session's own directory for /tmp.
func (s *session) here(typed string) string { return strings.ReplaceAll(typed, "/tmp/", s.tmp+"/") }

// complaint is how a lab that gets its commands through a pipe says what is wrong with one.
var complaint = regexp.MustCompile(`^line \d+: (typed-\d+: there is no command.*|.*?: (error .*)|.*?: (.*))$`)

// lines are those of an output, as a person would have seen them: /tmp is /tmp.
func (s *session) lines(output string) []string {
	var lines []string
	for line := range strings.Lines(strings.ReplaceAll(output, s.tmp+"/", "/tmp/")) {
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
	return lines
}

// atLab are the lines of a lab's screen without the complaints about errors that it has shown already.
func atLab(lines []string) []string {
	var said []string
	for _, line := range lines {
		m := complaint.FindStringSubmatch(line)
		switch {
		case m == nil:
			said = append(said, line)
		case m[3] != "":
			said = append(said, m[3])
		}
	}
	return said
}

// output is what a step wrote.
func (r *result) output() []string {
	if r.prompt == ">" {
		return atLab(r.got)
	}
	return r.got
}

// compare holds a result against what the chapter shows of it.
func (s *session) compare(b block, r *result) {
	if r.leftOut || r.prompt == ctrlC {
		return
	}
	s.Compared++
	want, got := settle(r.want, b.mark.varies), settle(r.output(), b.mark.varies)
	if !same(want, got) {
		s.problem(r.line, "%s %s\n%s", r.prompt, r.typed, difference(r.want, r.output(), want, got))
	}
}

// compareDue holds what the commands of the block before did against what the chapter says came of them.
func (s *session) compareDue(ctx context.Context, b block) error {
	if b.mark.notCompared != "" {
		s.Uncompared = append(s.Uncompared, fmt.Sprintf("%s:%d: %s", s.path, b.line, b.mark.notCompared))
		return nil
	}
	want := settle(b.lines, b.mark.varies)
	var best []string // what comes nearest
	for end := time.Now().Add(s.watch); ; {
		most := -1
		for _, got := range s.seen(b.isTrace()) {
			settled := settle(got, b.mark.varies)
			if within(want, settled) {
				if !s.told {
					s.Compared += len(s.due)
				}
				s.told = true
				return nil
			}
			if n := inCommon(want, settled)[0][0]; n > most {
				most, best = n, got
			}
		}
		if ctx.Err() != nil || time.Now().After(end) {
			break
		}
		s.someNews(ctx)
	}
	s.problem(b.line, "this does not come of the commands before it\n%s", difference(b.lines, best, want, settle(best, b.mark.varies)))
	return nil
}

// seen is all that may have come of the commands that are due: what they answered, and what each screen shows
// since, or, if wanted, all that it shows.
func (s *session) seen(whole bool) [][]string {
	var answers []string
	for _, r := range s.due {
		answers = append(answers, r.output()...)
	}
	all := [][]string{answers}
	for _, t := range s.terminals {
		begin := s.screens[t]
		if whole {
			begin = 0
		}
		text, _ := t.from(begin)
		all = append(all, atLab(s.lines(text)))
	}
	return all
}

// someNews waits a moment.
func (s *session) someNews(ctx context.Context) {
	select {
	case <-time.After(100 * time.Millisecond):
	case <-ctx.Done():
	}
}

// compareFile holds a block against the file of the stage that it is from.
func (s *session) compareFile(b block) {
	text, err := readLines(s.work, s.stage, b.file())
	if err != nil {
		s.problem(b.line, "%v", err)
		return
	}
	s.Excerpts++
	want, got := settle(b.lines, nil), settle(text, nil)
	if !within(want, got) {
		s.problem(b.line, "this is not in %s\n%s", b.file(), difference(b.lines, text, want, got))
	}
}

// portsAreFree fails if a node cannot have the ports that the chapters name.
func portsAreFree() error {
	for _, port := range []string{"7001", "7002", "7003", "7099"} {
		l, err := net.Listen("tcp", "127.0.0.1:"+port)
		if err != nil {
			return fmt.Errorf("the chapters need ports from 7001 on: a lab or a node runs: %w", err)
		}
		l.Close()
	}
	return nil
}
